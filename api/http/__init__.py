"""The HTTP side of the API that no single route owns: middleware, keys, errors, headers, documentation."""
