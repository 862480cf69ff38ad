"""Rights of API keys: their team, and whether they may submit urgent jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_KEYS = sa.table("api_keys", sa.column("scope", sa.String()), sa.column("may_urgent", sa.Boolean()))


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("team", sa.String(64), nullable=True))
    may_urgent: sa.Column[bool] = sa.Column(
        "may_urgent", sa.Boolean(), server_default=sa.false(), nullable=False
    )
    op.add_column("api_keys", may_urgent)
    op.execute(sa.update(_KEYS).where(_KEYS.c.scope == "admin").values(may_urgent=True))
