"""Runs the migrations on the connection that `shared.db.migrating` hands over; triggers come at the end."""

from alembic import context

from shared.db import triggers
from shared.db.tables import Base

attributes = context.config.attributes
connection = attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_type=True,
    transactional_ddl=True,  # SQLite's too: else the triggers come after the commit of the migration
)
with context.begin_transaction():
    if (begun := attributes.get("begun")) is not None:
        begun(connection)
    context.run_migrations()
    if context.get_context().get_current_revision() == context.get_head_revision():
        triggers.replace(connection)
