"""The next job is chosen in SQL: jobs have a place in their queue, and no record of sent messages."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# of 0007, with `place` for `dispatched_at`
_KEPT = [
    "kind",
    "state",
    "phase",
    "spec",
    "queue",
    "priority",
    "model_id",
    "sweep_id",
    "request_id",
    "attempt",
    "failures",
    "crashes",
    "max_attempts",
    "max_runtime_s",
    "lease_owner",
    "lease_expires_at",
    "place",
    "scheduled_at",
    "created_at",
    "started_at",
    "finished_at",
    "duration_s",
    "cancel_requested_at",
    "next_epoch",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "evaluation_accuracy",
    "error_code",
    "error_message",
]
_FINISHED = "OLD.state IN ('succeeded', 'failed', 'cancelled')"
_REFUSAL = "a job cannot change once it is finished"
_HEAD_START = "CASE priority WHEN 'high' THEN 3600 WHEN 'low' THEN -3600 ELSE 0 END"
_QUEUED, _RUNNING = sa.text("state = 'queued'"), sa.text("state = 'running'")


def upgrade() -> None:
    _drop_trigger()
    op.drop_index("ix_jobs_due", "jobs")
    op.drop_column("jobs", "dispatched_at")
    op.add_column("jobs", sa.Column("place", sa.Double(), nullable=False, server_default=sa.text("0")))
    seconds = "EXTRACT(EPOCH FROM created_at)"
    if _is_sqlite():
        seconds = "(julianday(created_at) - julianday('1970-01-01')) * 86400"
    op.execute(f"UPDATE jobs SET place = {seconds} - {_HEAD_START}")
    _create_partial_index("ix_jobs_next", ["queue", "place", "id", "scheduled_at"], _QUEUED)
    _create_partial_index("ix_jobs_owner", ["lease_owner"], _RUNNING)
    _create_trigger(_KEPT)


def downgrade() -> None:
    _drop_trigger()
    op.drop_index("ix_jobs_owner", "jobs")
    op.drop_index("ix_jobs_next", "jobs")
    op.drop_column("jobs", "place")
    op.add_column("jobs", sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True))
    _create_partial_index("ix_jobs_due", ["dispatched_at", "scheduled_at"], _QUEUED)
    _create_trigger(["dispatched_at" if column == "place" else column for column in _KEPT])


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _create_partial_index(name: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, "jobs", columns, sqlite_where=where, postgresql_where=where)


def _drop_trigger() -> None:
    op.execute("DROP TRIGGER jobs_finished" if _is_sqlite() else "DROP TRIGGER jobs_finished ON jobs")


def _create_trigger(kept: list[str]) -> None:
    if _is_sqlite():
        changed = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in kept)
        op.execute(
            f"CREATE TRIGGER jobs_finished BEFORE UPDATE ON jobs WHEN {_FINISHED} AND ({changed}) "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )
        return
    # JSON has no equality: its text does. The function `jobs_finished` is that of 0007
    old, new = (", ".join(f"{row}.{column}" for column in kept) for row in ("OLD", "NEW"))
    changed = f"({old}) IS DISTINCT FROM ({new})".replace(".spec", ".spec::text")
    op.execute(
        f"CREATE TRIGGER jobs_finished BEFORE UPDATE ON jobs FOR EACH ROW WHEN ({_FINISHED} AND {changed}) "
        "EXECUTE FUNCTION jobs_finished()"
    )
