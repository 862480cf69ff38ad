"""The store: one module a noun, each a set of functions that run inside one transaction."""
