"""Webhooks that are paused, and the secrets that were replaced, which sign beside the new ones for a day."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("webhooks", sa.Column("previous_secret", sa.String(128), nullable=True))
    op.add_column("webhooks", sa.Column("previous_secret_until", sa.DateTime(timezone=True), nullable=True))
