"""How many jobs of a queue or of an API key run at once, and jobs that give their slot to urgent ones."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_QUEUED = sa.text("state = 'queued'")
_LIMITED = sa.text("max_running IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "queue_limits",
        sa.Column("queue", sa.String(64), nullable=False),
        sa.Column("max_running", sa.Integer(), nullable=False),
        sa.CheckConstraint("max_running > 0", name=op.f("ck_queue_limits_max_running")),
        sa.PrimaryKeyConstraint("queue", name=op.f("pk_queue_limits")),
    )
    op.create_table(
        "yields",
        sa.Column("victim_id", sa.Uuid(), nullable=False),
        sa.Column("victim_attempt", sa.Integer(), nullable=False),
        sa.Column("urgent_id", sa.Uuid(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("yielded_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("victim_id <> urgent_id", name=op.f("ck_yields_others")),
        *(
            sa.ForeignKeyConstraint([job], ["jobs.id"], name=op.f(f"fk_yields_{job}"), ondelete="CASCADE")
            for job in ("victim_id", "urgent_id")
        ),
        sa.PrimaryKeyConstraint("victim_id", "victim_attempt", name=op.f("pk_yields")),
    )
    op.create_index("ix_yields_urgent_id", "yields", ["urgent_id"])
    op.add_column("api_keys", sa.Column("max_running", sa.Integer(), nullable=True))
    _create_index("ix_api_keys_max_running", "api_keys", ["max_running"], _LIMITED)
    columns = ["queue", "api_key_id", "place", "id", "scheduled_at"]
    _create_index("ix_jobs_next_of_key", "jobs", columns, _QUEUED)


def _create_index(name: str, table: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    op.drop_index("ix_jobs_next_of_key", "jobs")
    op.drop_index("ix_api_keys_max_running", "api_keys")
    op.drop_column("api_keys", "max_running")
    op.drop_table("yields")
    op.drop_table("queue_limits")
