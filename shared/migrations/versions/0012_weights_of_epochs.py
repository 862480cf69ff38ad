"""Jobs may keep the weights after each epoch."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "epoch_weights",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "length(content) > 0 AND length(content) / 4 * 4 = length(content)",
            name=op.f("ck_epoch_weights_floats"),
        ),
        sa.ForeignKeyConstraint(
            ["job_id", "epoch"],
            ["epochs.job_id", "epochs.epoch"],
            name=op.f("fk_epoch_weights_job_id_epoch"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job_id", "epoch", name=op.f("pk_epoch_weights")),
    )


def downgrade() -> None:
    op.drop_table("epoch_weights")
