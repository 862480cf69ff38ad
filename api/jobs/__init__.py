"""What the API does with jobs, without HTTP: submit, sweep, compare, watch."""
