"""Attempts that failed or were lost are counted by their index."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_UNSUCCESSFUL = sa.text("outcome IN ('failed', 'lost')")


def upgrade() -> None:
    op.create_index(
        "ix_attempts_unsuccessful",
        "attempts",
        ["finished_at", "outcome"],
        sqlite_where=_UNSUCCESSFUL,
        postgresql_where=_UNSUCCESSFUL,
    )


def downgrade() -> None:
    op.drop_index("ix_attempts_unsuccessful", "attempts")
