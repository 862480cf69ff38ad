"""The peers: other systems, each as its own documentation runs it fastest. They run in `.venv-bench`."""
