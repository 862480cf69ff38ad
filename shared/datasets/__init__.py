"""Datasets: sources, downloads, decoding and cache."""
