"""Benchmarks: one module each, run by `make bench`; results in results.md."""
