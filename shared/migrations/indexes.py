"""Indexes of tables that may be large and in use: PostgreSQL builds them while others write.

A migration that creates such an index does nothing else, since it runs without a transaction. So it can be
repeated after an interruption.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

_IS_VALID = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
_LIMIT = sa.text("SELECT current_setting('transaction_timeout', true)")  # NULL before PostgreSQL 17


def create(name: str, table: str, columns: list[Any], **options: Any) -> None:
    """Create an index, with the options of `op.create_index`, while others write to its table.

    An incomplete index that an interrupted attempt has left is replaced. On a new database, and on SQLite,
    the index is created in the transaction of all migrations.
    """
    context = op.get_context()
    assert context.config is not None
    if (begun := context.config.attributes.get("begun")) is None:
        op.create_index(name, table, columns, **options)
        return
    with context.autocommit_block():
        limit = op.get_bind().scalar(_LIMIT)
        if limit is not None:
            op.execute("SET transaction_timeout = 0")
        is_valid = op.get_bind().scalar(_IS_VALID, {"name": name})
        if is_valid is False:
            op.drop_index(name, table, postgresql_concurrently=True)
        if not is_valid:
            op.create_index(name, table, columns, postgresql_concurrently=True, **options)
        if limit is not None:
            op.execute(f"SET transaction_timeout = '{limit}'")
    begun(op.get_bind())
