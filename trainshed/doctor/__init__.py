"""The checks of `trainshed doctor`: a host, its settings, and the services and files that they name."""
