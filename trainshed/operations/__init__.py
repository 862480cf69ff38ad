"""The REST API as methods of the asynchronous client, one class per resource."""
