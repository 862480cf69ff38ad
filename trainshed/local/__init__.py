"""The local stack: Redis, the API and a worker as child processes on this host."""
