"""An index of the jobs of each API key."""

import sqlalchemy as sa

from shared.migrations import indexes

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_OF_A_KEY = sa.text("api_key_id IS NOT NULL")


def upgrade() -> None:
    indexes.create(
        "ix_jobs_by_key",
        "jobs",
        ["api_key_id", "created_at", "id"],
        sqlite_where=_OF_A_KEY,
        postgresql_where=_OF_A_KEY,
    )
