"""Whose turn it is: jobs have a share, shares and queues have clocks, and a job may be urgent."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# of 0011, with `share` and `api_key_id`
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
_ADDED = ("share", "api_key_id")
_FINISHED = "OLD.state IN ('succeeded', 'failed', 'cancelled')"
_REFUSAL = "a job cannot change once it is finished"
_OLD_PRIORITIES = "priority IN ('high', 'low', 'normal')"
_PRIORITIES = "priority IN ('high', 'low', 'normal', 'urgent')"
_OLD_COLUMNS = ["state", "queue", "priority", "created_at", "id", "scheduled_at"]
_COLUMNS = ["state", "queue", "priority", "place", "id", "scheduled_at", "created_at"]
_UNFINISHED = sa.text("state IN ('queued', 'running')")


def upgrade() -> None:
    op.create_table(
        "queue_clocks",
        sa.Column("queue", sa.String(64), primary_key=True),
        sa.Column("priority", sa.String(16), primary_key=True),
        *(sa.Column(name, sa.Double(), nullable=False) for name in ("place", "served", "last")),
    )
    op.create_table(
        "share_clocks",
        sa.Column("queue", sa.String(64), primary_key=True),
        sa.Column("priority", sa.String(16), primary_key=True),
        sa.Column("share", sa.String(128), primary_key=True),
        sa.Column("next", sa.Double(), nullable=False),
    )
    op.add_column("jobs", sa.Column("share", sa.String(128), nullable=True))
    op.add_column("jobs", sa.Column("api_key_id", sa.Uuid(), nullable=True))
    op.add_column("api_keys", sa.Column("weight", sa.Double(), nullable=False, server_default=sa.text("1")))
    op.create_index(
        "ix_jobs_share",
        "jobs",
        ["state", "queue", "share", "created_at"],
        sqlite_where=_UNFINISHED,
        postgresql_where=_UNFINISHED,
    )
    _drop_trigger()
    _create_trigger(_KEPT)
    _replace_index(_COLUMNS)
    _replace_check(_OLD_PRIORITIES, _PRIORITIES)


def downgrade() -> None:
    _drop_trigger()
    op.execute("UPDATE jobs SET priority = 'high' WHERE priority = 'urgent'")
    _replace_check(_PRIORITIES, _OLD_PRIORITIES)
    op.drop_index("ix_jobs_share", "jobs")
    op.drop_column("api_keys", "weight")
    for column in _ADDED:
        op.drop_column("jobs", column)
    _create_trigger([column for column in _KEPT if column not in _ADDED])
    _replace_index(_OLD_COLUMNS)
    op.drop_table("share_clocks")
    op.drop_table("queue_clocks")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _replace_index(columns: list[str]) -> None:
    op.drop_index("ix_jobs_state_queue_priority", "jobs")
    op.create_index("ix_jobs_state_queue_priority", "jobs", columns)


def _replace_check(old: str, new: str) -> None:
    if not _is_sqlite():
        op.drop_constraint(op.f("ck_jobs_priority"), "jobs", type_="check")
        op.create_check_constraint(op.f("ck_jobs_priority"), "jobs", new)
        return
    # a constraint is not on disk but in the table's text, which SQLite's documentation has one change like
    # this (ALTER TABLE, part 8): a copy of the table would delete what refers to its rows
    version = op.get_bind().execute(sa.text("PRAGMA schema_version")).scalar_one()
    op.execute("PRAGMA writable_schema = ON")
    change = sa.text("UPDATE sqlite_schema SET sql = replace(sql, :old, :new) WHERE name = 'jobs'")
    op.execute(change.bindparams(old=old, new=new))
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = OFF")


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
