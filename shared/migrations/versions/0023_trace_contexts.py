"""The trace that a job was submitted in, for the traces of its attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

# of 0018, with `traceparent`
_KEPT = [
    "kind",
    "state",
    "phase",
    "spec",
    "queue",
    "priority",
    "model_id",
    "sweep_id",
    "share",
    "api_key_id",
    "request_id",
    "traceparent",
    "attempt",
    "failures",
    "crashes",
    "max_attempts",
    "max_runtime_s",
    "lease_owner",
    "lease_expires_at",
    "place",
    "scheduled_at",
    "earliest_at",
    "waits_for",
    "has_dependents",
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
_ADDED = "traceparent"
_FINISHED = "OLD.state IN ('succeeded', 'failed', 'cancelled')"
_REFUSAL = "a job cannot change once it is finished"


def upgrade() -> None:
    op.add_column("jobs", sa.Column(_ADDED, sa.String(55), nullable=True))
    _drop_trigger()
    _create_trigger(_KEPT)


def downgrade() -> None:
    _drop_trigger()
    op.drop_column("jobs", _ADDED)
    _create_trigger([column for column in _KEPT if column != _ADDED])


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


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
