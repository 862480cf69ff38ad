"""The web pages, which people use in a browser; made from the same functions as the REST API."""
