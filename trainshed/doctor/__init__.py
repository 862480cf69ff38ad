"""What `trainshed doctor` finds wrong with a host, its settings and what they name, and what to do."""
