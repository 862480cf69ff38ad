"""Runs the migrations on the connection that `shared.db.migrating` hands over."""

from alembic import context

from shared.db.tables import Base

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    if (begun := attributes.get("begun")) is not None:
        begun(attributes["connection"])
    context.run_migrations()
