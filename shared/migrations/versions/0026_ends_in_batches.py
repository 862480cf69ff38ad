"""What is left of the end of a job for those that wait for it, their depth, and which boot ran an attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_WITH_BOOT_ID = ("attempts", "workers")


def upgrade() -> None:
    op.create_table(
        "ended_predecessors",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_ended_predecessors_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_ended_predecessors")),
    )
    op.add_column("job_dependencies", sa.Column("depth", sa.Integer(), nullable=True))
    for table in _WITH_BOOT_ID:
        op.add_column(table, sa.Column("boot_id", sa.String(64), nullable=True))
