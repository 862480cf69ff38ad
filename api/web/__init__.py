"""The web pages: what people see in a browser, made from the same functions as the REST API."""
