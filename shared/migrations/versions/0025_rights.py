"""Rights of API keys: their team, whether they may submit urgent jobs; an index of the jobs of each key."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_KEYS = sa.table("api_keys", sa.column("scope", sa.String()), sa.column("may_urgent", sa.Boolean()))
_OF_A_KEY = sa.text("api_key_id IS NOT NULL")


def upgrade() -> None:
    # first, so that the rest is not there yet when the index is to be built again
    op.create_index(
        "ix_jobs_by_key",
        "jobs",
        ["api_key_id", "created_at", "id"],
        sqlite_where=_OF_A_KEY,
        postgresql_where=_OF_A_KEY,
    )
    op.add_column("api_keys", sa.Column("team", sa.String(64), nullable=True))
    may_urgent: sa.Column[bool] = sa.Column(
        "may_urgent", sa.Boolean(), server_default=sa.false(), nullable=False
    )
    op.add_column("api_keys", may_urgent)
    op.execute(sa.update(_KEYS).where(_KEYS.c.scope == "admin").values(may_urgent=True))
    op.create_index("ix_api_keys_team", "api_keys", ["team"])


def downgrade() -> None:
    op.drop_index("ix_api_keys_team", "api_keys")
    op.drop_column("api_keys", "may_urgent")
    op.drop_column("api_keys", "team")
    op.drop_index("ix_jobs_by_key", "jobs")
