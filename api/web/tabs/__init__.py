"""What the tabs of a job's page show, read from the database: a module each."""
