"""The oldest version of Trainshed that may use the database: for now the first that reads it."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_FLOOR = "0.1.0"


def upgrade() -> None:
    op.create_table(
        "version_floor",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_version_floor_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version_floor")),
    )
    op.execute(f"INSERT INTO version_floor (id, version) VALUES (1, '{_FLOOR}')")


def downgrade() -> None:
    op.drop_table("version_floor")
