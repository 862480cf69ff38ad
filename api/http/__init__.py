"""The HTTP layer that all routes share: middleware, authorization, errors, headers, documentation."""
