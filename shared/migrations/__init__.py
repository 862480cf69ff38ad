"""The schema's history, for Alembic. Run by `Database.migrate`."""
