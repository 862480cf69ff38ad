"""Idempotency keys stay when their job is deleted, name their sweep, and have room for an API key's id."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_TABLE = "idempotency_keys"
_FOREIGN_KEY = "fk_idempotency_keys_job_id"
_SHORT, _LONG = sa.String(255), sa.String(292)


def upgrade() -> None:
    # on PostgreSQL neither reads nor rewrites the rows
    with op.batch_alter_table(_TABLE) as batch_op:
        batch_op.drop_constraint(_FOREIGN_KEY, type_="foreignkey")
        batch_op.alter_column("key", existing_type=_SHORT, type_=_LONG, existing_nullable=False)
        batch_op.add_column(sa.Column("sweep_id", sa.Uuid(), nullable=True))
