"""Events get a position in the order of all jobs' events; those that are there already have none."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE SEQUENCE job_event_positions")
    op.add_column("job_events", sa.Column("position", sa.BigInteger(), nullable=True))
    op.create_index("ix_job_events_position_job_id_seq", "job_events", ["position", "job_id", "seq"])


def downgrade() -> None:
    op.drop_index("ix_job_events_position_job_id_seq", "job_events")
    op.drop_column("job_events", "position")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP SEQUENCE job_event_positions")
