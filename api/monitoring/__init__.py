"""Metrics of jobs, workers and requests for Prometheus."""
