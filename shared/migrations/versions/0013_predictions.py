"""Evaluations have the prediction of each image; those of earlier versions have none."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_NAME = "ck_evaluations_predictions"
_CHECK = "length(predictions) = 45 * size"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        # without a copy of the table, whose deletion would delete the rows that refer to it
        op.execute(f"ALTER TABLE evaluations ADD COLUMN predictions BLOB CONSTRAINT {_NAME} CHECK ({_CHECK})")
        return
    op.add_column("evaluations", sa.Column("predictions", sa.LargeBinary(), nullable=True))
    op.create_check_constraint(op.f(_NAME), "evaluations", _CHECK)


def downgrade() -> None:
    op.drop_column("evaluations", "predictions")
