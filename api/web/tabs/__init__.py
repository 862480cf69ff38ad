"""The contents of the tabs of a job's page, read from the database; one module for each tab."""
