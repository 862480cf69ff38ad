"""Indexes of a worker's attempts in the order of their starts, and of what finished with each state."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_FINISHED = sa.text("finished_at IS NOT NULL")


def upgrade() -> None:
    op.create_index("ix_attempts_worker_started_at", "attempts", ["worker", "started_at", "job_id", "number"])
    _replace_index(["finished_at", "state"])


def downgrade() -> None:
    _replace_index(["finished_at"])
    op.drop_index("ix_attempts_worker_started_at", "attempts")


def _replace_index(columns: list[str]) -> None:
    op.drop_index("ix_jobs_finished_at", "jobs")
    op.create_index(
        "ix_jobs_finished_at", "jobs", columns, sqlite_where=_FINISHED, postgresql_where=_FINISHED
    )
