"""The store: one module per noun, with functions that run inside a transaction of their caller."""
