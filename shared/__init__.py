"""Modules that the API, the workers and the client share."""
