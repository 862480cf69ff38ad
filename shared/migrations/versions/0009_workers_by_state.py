"""An index with which online workers are found, and old ones pruned, without reading the others."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_INDEX = "ix_workers_state_heartbeat_at"


def upgrade() -> None:
    op.create_index(_INDEX, "workers", ["state", "heartbeat_at", "lost_after_s"])


def downgrade() -> None:
    op.drop_index(_INDEX, "workers")
