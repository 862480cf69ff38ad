"""The pages' routes, one module per group of pages."""
