"""Events of progress, and environments of attempts. A stand-in: it moves no data, and drops what is there."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_JOB_ID = "jobs.id"


def upgrade() -> None:
    op.drop_table("job_events")
    op.drop_table("attempts")
    _create_events()
    op.create_table(
        "environments",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_environments")),
    )
    _create_attempts()


def _create_events() -> None:
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "type IN ('cancel_requested', 'cancelled', 'claimed', 'edited', 'failed', 'lease_expired', "
            "'progress', 'released', 'retry_scheduled', 'submitted', 'succeeded')",
            name=op.f("ck_job_events_type"),
        ),
        sa.ForeignKeyConstraint(["job_id"], [_JOB_ID], name=op.f("fk_job_events_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "seq", name=op.f("pk_job_events")),
    )
    op.create_index("ix_job_events_position_job_id_seq", "job_events", ["position", "job_id", "seq"])
    terminal = sa.text("type IN ('cancelled', 'failed', 'succeeded')")
    op.create_index(
        "uq_job_events_terminal",
        "job_events",
        ["job_id"],
        unique=True,
        sqlite_where=terminal,
        postgresql_where=terminal,
    )


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(200), nullable=False),
        sa.Column("device", sa.String(200), nullable=False),
        sa.Column("environment", sa.LargeBinary(), nullable=False),
        sa.Column("dataset_sha256", sa.String(64), nullable=True),
        sa.Column("boot_id", sa.String(64), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.Column("error_code", sa.String(64), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(outcome IS NULL) = (finished_at IS NULL)", name=op.f("ck_attempts_finished_has_outcome")
        ),
        sa.ForeignKeyConstraint(["job_id"], [_JOB_ID], name=op.f("fk_attempts_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_worker_job_id", "attempts", ["worker", "job_id"])
    op.create_index("ix_attempts_worker_started_at", "attempts", ["worker", "started_at", "job_id", "number"])
    unsuccessful = sa.text("outcome IN ('failed', 'lost')")
    op.create_index(
        "ix_attempts_unsuccessful",
        "attempts",
        ["finished_at", "outcome"],
        sqlite_where=unsuccessful,
        postgresql_where=unsuccessful,
    )
