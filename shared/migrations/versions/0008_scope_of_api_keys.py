"""API keys: the JSON list `scopes`, which always had exactly one element, becomes the column `scope`."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_KEYS = sa.table(
    "api_keys",
    sa.column("id", sa.Uuid()),
    sa.column("scopes", sa.JSON()),
    sa.column("scope", sa.String()),
)


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("scope", sa.String(length=16), nullable=True))
    connection = op.get_bind()
    for row in connection.execute(sa.select(_KEYS.c.id, _KEYS.c.scopes)).all():
        [scope] = row.scopes
        connection.execute(sa.update(_KEYS).where(_KEYS.c.id == row.id).values(scope=scope))
    with op.batch_alter_table("api_keys") as batch_op:
        batch_op.drop_column("scopes")
        batch_op.alter_column("scope", existing_type=sa.String(length=16), nullable=False)
        batch_op.create_check_constraint(op.f("ck_api_keys_scope"), "scope IN ('admin', 'read', 'submit')")


def downgrade() -> None:
    op.add_column("api_keys", sa.Column("scopes", sa.JSON(), nullable=True))
    connection = op.get_bind()
    for row in connection.execute(sa.select(_KEYS.c.id, _KEYS.c.scope)).all():
        connection.execute(sa.update(_KEYS).where(_KEYS.c.id == row.id).values(scopes=[row.scope]))
    with op.batch_alter_table("api_keys") as batch_op:
        batch_op.drop_constraint(op.f("ck_api_keys_scope"), type_="check")
        batch_op.drop_column("scope")
        batch_op.alter_column("scopes", existing_type=sa.JSON(), nullable=False)
