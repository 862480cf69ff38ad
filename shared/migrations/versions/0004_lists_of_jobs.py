"""What lists of jobs are read from; tags in a table; paused queues; edited jobs; when a worker is lost."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ORDERS = ("created_at", "duration_s", "val_accuracy", "evaluation_accuracy")
_INDEXES = (
    *((f"ix_jobs_by_{key}", "jobs", [key, "id", "state", "kind", "queue", "name"]) for key in _ORDERS),
    ("ix_jobs_state_queue_priority", "jobs", ["state", "queue", "priority", "created_at", "id"]),
    ("ix_attempts_worker_job_id", "attempts", ["worker", "job_id"]),
    # what a job is looked up by before it is deleted
    ("ix_jobs_retry_of", "jobs", ["retry_of"]),
    ("ix_jobs_model_id", "jobs", ["model_id"]),
    ("ix_evaluations_model_id", "evaluations", ["model_id"]),
    ("ix_idempotency_keys_job_id", "idempotency_keys", ["job_id"]),
)
_OLD_INDEXES = (
    ("ix_jobs_created_at_id", "jobs", ["created_at", "id"]),
    ("ix_jobs_state_created_at", "jobs", ["state", "created_at"]),
)
_OLD_TYPES = (
    "'cancel_requested', 'cancelled', 'claimed', 'epochs_recorded', 'failed', 'lease_expired', "
    "'phase_entered', 'released', 'retry_scheduled', 'submitted', 'succeeded'"
)
_NEW_TYPES = _OLD_TYPES.replace("'epochs_recorded'", "'edited', 'epochs_recorded'")
_DURATION = {
    "sqlite": "(julianday(finished_at) - julianday(started_at)) * 86400",
    "postgresql": "EXTRACT(EPOCH FROM finished_at - started_at)",
}
_TAGS = {
    "sqlite": "SELECT jobs.id, tag.value FROM jobs, json_each(jobs.tags) AS tag",
    "postgresql": "SELECT jobs.id, tag.value FROM jobs, json_array_elements_text(jobs.tags) AS tag (value)",
}


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    op.create_table(
        "paused_queues",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_paused_queues")),
    )
    op.create_table(
        "job_tags",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_tags_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "tag", name=op.f("pk_job_tags")),
    )
    op.create_index("ix_job_tags_tag_job_id", "job_tags", ["tag", "job_id"])
    op.execute(f"INSERT INTO job_tags (job_id, tag) {_TAGS[dialect]}")
    op.add_column("jobs", sa.Column("duration_s", sa.Double(), nullable=True))
    op.execute(f"UPDATE jobs SET duration_s = {_DURATION[dialect]} WHERE finished_at IS NOT NULL")
    op.add_column("workers", sa.Column("lost_after_s", sa.Double(), nullable=True))
    _replace_indexes(_OLD_INDEXES, _INDEXES)
    _allow_events(_NEW_TYPES)


def downgrade() -> None:
    op.execute("DELETE FROM job_events WHERE type = 'edited'")
    _allow_events(_OLD_TYPES)
    _replace_indexes(_INDEXES, _OLD_INDEXES)
    op.drop_column("workers", "lost_after_s")
    op.drop_column("jobs", "duration_s")
    op.drop_table("job_tags")
    op.drop_table("paused_queues")


def _replace_indexes(
    old: tuple[tuple[str, str, list[str]], ...], new: tuple[tuple[str, str, list[str]], ...]
) -> None:
    for name, table, _ in old:
        op.drop_index(name, table)
    for name, table, columns in new:
        op.create_index(name, table, columns)


def _allow_events(types: str) -> None:
    with op.batch_alter_table("job_events") as batch_op:
        # SQLite builds the table anew, and leaves out the old constraint by itself
        if op.get_bind().dialect.name == "postgresql":
            batch_op.drop_constraint(op.f("ck_job_events_type"), type_="check")
        batch_op.create_check_constraint(op.f("ck_job_events_type"), f"type IN ({types})")
