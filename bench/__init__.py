"""Benchmarks, one module each. `make bench` runs those with a target; results.md has their output."""
