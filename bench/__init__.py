"""Benchmarks, one module each. `make bench` runs all of them; results.md has their output."""
