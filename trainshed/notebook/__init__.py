"""Answers of the server as notebooks show them: HTML, curves, DataFrames, progress."""
