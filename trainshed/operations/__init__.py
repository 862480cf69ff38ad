"""The REST API as methods of the asynchronous client, one class a noun."""
