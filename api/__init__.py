"""The HTTP API: a FastAPI application."""
