"""The HTTP front end: what comes in, what goes out."""
