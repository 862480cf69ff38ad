"""What is counted of very many jobs, for Prometheus and in sweeps, is read from indexes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BY_STATE = "ix_jobs_state_queue_priority"
_STATE = ["state", "queue", "priority", "created_at", "id"]
_BY_SWEEP, _OLD_BY_SWEEP = "ix_jobs_by_sweep", "ix_jobs_sweep_id"
_SWEEP = ["sweep_id", "state", "evaluation_accuracy", "val_accuracy", "val_loss", "accuracy", "loss", "id"]
_MOMENTS = ("started_at", "finished_at")


def upgrade() -> None:
    op.drop_index(_BY_STATE, "jobs")
    op.create_index(_BY_STATE, "jobs", [*_STATE, "scheduled_at"])
    op.drop_index(_OLD_BY_SWEEP, "jobs")
    _create_partial_index(_BY_SWEEP, _SWEEP)
    for moment in _MOMENTS:
        _create_partial_index(f"ix_jobs_{moment}", [moment])


def downgrade() -> None:
    for moment in _MOMENTS:
        op.drop_index(f"ix_jobs_{moment}", "jobs")
    op.drop_index(_BY_SWEEP, "jobs")
    op.create_index(_OLD_BY_SWEEP, "jobs", ["sweep_id"])
    op.drop_index(_BY_STATE, "jobs")
    op.create_index(_BY_STATE, "jobs", _STATE)


def _create_partial_index(name: str, columns: list[str]) -> None:
    known = sa.text(f"{columns[0]} IS NOT NULL")
    op.create_index(name, "jobs", columns, sqlite_where=known, postgresql_where=known)
