"""A trigger refuses every change of a finished job but of its name, its tags, and what it repeats."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# all columns but `id`, those of an edit (`name`, `tags`, `version`), and `retry_of`, which is emptied when
# the job that it names is deleted
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
    "scheduled_at",
    "dispatched_at",
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


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        changed = " OR ".join(f"OLD.{column} IS NOT NEW.{column}" for column in _KEPT)
        op.execute(
            f"CREATE TRIGGER jobs_finished BEFORE UPDATE ON jobs WHEN {_FINISHED} AND ({changed}) "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )
        return
    # JSON has no equality: its text does
    old, new = (", ".join(f"{row}.{column}" for column in _KEPT) for row in ("OLD", "NEW"))
    changed = f"({old}) IS DISTINCT FROM ({new})".replace(".spec", ".spec::text")
    op.execute(
        f"""
        CREATE FUNCTION jobs_finished() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'check_violation';
        END $$
        """
    )
    op.execute(
        f"CREATE TRIGGER jobs_finished BEFORE UPDATE ON jobs FOR EACH ROW WHEN ({_FINISHED} AND {changed}) "
        "EXECUTE FUNCTION jobs_finished()"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER jobs_finished")
    else:
        op.execute("DROP TRIGGER jobs_finished ON jobs")
        op.execute("DROP FUNCTION jobs_finished()")
