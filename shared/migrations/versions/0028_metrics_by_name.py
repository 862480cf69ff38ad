"""Metrics by name. A stand-in for the migration of 0.2.0: it drops the old columns with what is in them."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_OF_LAST_EPOCH = ("loss", "accuracy", "val_loss", "val_accuracy")
_TRIGGERS = ("jobs_finished", "jobs_ended")  # they name columns that are dropped
_OF_A_SWEEP = sa.text("sweep_id IS NOT NULL")


def upgrade() -> None:
    on_table = " ON jobs" if op.get_bind().dialect.name == "postgresql" else ""
    for trigger in _TRIGGERS:
        op.execute(f"DROP TRIGGER IF EXISTS {trigger}{on_table}")
    for index in ("ix_jobs_by_val_accuracy", "ix_jobs_by_evaluation_accuracy", "ix_jobs_by_sweep"):
        op.drop_index(index, "jobs")
    for column in (*_OF_LAST_EPOCH, "evaluation_accuracy"):
        op.drop_column("jobs", column)
    op.add_column("jobs", sa.Column("last_values", sa.JSON(), nullable=True))
    _index_by_sweep("ix_jobs_by_sweep", "jobs", ["sweep_id", "state", "id"])
    _change_epochs()
    for column in ("accuracy", "evaluation_accuracy"):
        op.drop_column("webhook_deliveries", column)
    op.add_column("webhook_deliveries", sa.Column("last_values", sa.JSON(), nullable=True))
    _create_job_values()


def _change_epochs() -> None:
    op.execute("DELETE FROM epochs")
    for column in (*_OF_LAST_EPOCH, "batch_loss", "batch_accuracy"):
        op.drop_column("epochs", column)
    op.add_column("epochs", sa.Column("values", sa.JSON(), nullable=False))
    op.add_column("epochs", sa.Column("steps", sa.LargeBinary(), nullable=False))


def _create_job_values() -> None:
    op.create_table(
        "job_values",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("sweep_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_values_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_job_values")),
    )
    columns = ["name", "value", "job_id", "state", "kind", "queue"]
    op.create_index("ix_job_values_by_value", "job_values", columns)
    _index_by_sweep("ix_job_values_by_sweep", "job_values", ["sweep_id", "name", "value", "job_id"])


def _index_by_sweep(name: str, table: str, columns: list[str]) -> None:
    op.create_index(name, table, columns, sqlite_where=_OF_A_SWEEP, postgresql_where=_OF_A_SWEEP)
