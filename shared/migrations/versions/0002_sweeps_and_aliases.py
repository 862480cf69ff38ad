"""Sweeps, models' aliases and descriptions; batch metrics become doubles instead of JSON."""

from typing import Any

import numpy as np
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BATCH = ("batch_loss", "batch_accuracy")


def upgrade() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
    )
    op.create_index("ix_sweeps_created_at_id", "sweeps", ["created_at", "id"])
    op.create_table(
        "model_aliases",
        sa.Column("alias", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_model_aliases_model_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_model_aliases")),
        sa.UniqueConstraint("model_id", name=op.f("uq_model_aliases_model_id")),
    )
    # columns are added in place: SQLite would build `jobs` anew for more, and lose what points to it
    op.add_column("jobs", sa.Column("sweep_id", sa.Uuid(), nullable=True))
    op.create_index("ix_jobs_sweep_id", "jobs", ["sweep_id"])
    op.add_column("models", sa.Column("description", sa.Text(), nullable=True))
    op.add_column("models", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_models_created_at_id", "models", ["created_at", "id"])
    _convert_batches(sa.JSON(), sa.LargeBinary())


def downgrade() -> None:
    _convert_batches(sa.LargeBinary(), sa.JSON())
    op.drop_index("ix_models_created_at_id", "models")
    op.drop_column("models", "deleted_at")
    op.drop_column("models", "description")
    op.drop_index("ix_jobs_sweep_id", "jobs")
    op.drop_column("jobs", "sweep_id")
    op.drop_table("model_aliases")
    op.drop_table("sweeps")


def _convert_batches(old: sa.types.TypeEngine[Any], new: sa.types.TypeEngine[Any]) -> None:
    """Give the batch metrics' columns another type, row by row; nothing points to `epochs`."""
    for name in _BATCH:
        op.add_column("epochs", sa.Column(f"new_{name}", new, nullable=True))
    epochs = sa.table(
        "epochs",
        sa.column("job_id", sa.Uuid()),
        sa.column("epoch", sa.Integer()),
        *(sa.column(name, old) for name in _BATCH),
        *(sa.column(f"new_{name}", new) for name in _BATCH),
    )
    connection = op.get_bind()
    for key in connection.execute(sa.select(epochs.c.job_id, epochs.c.epoch)).all():
        same = sa.and_(epochs.c.job_id == key.job_id, epochs.c.epoch == key.epoch)
        row = connection.execute(sa.select(*(epochs.c[name] for name in _BATCH)).where(same)).one()
        values = {f"new_{name}": _converted(value) for name, value in zip(_BATCH, row, strict=True)}
        connection.execute(sa.update(epochs).where(same).values(values))
    with op.batch_alter_table("epochs") as batch_op:
        for name in _BATCH:
            batch_op.drop_column(name)
            batch_op.alter_column(f"new_{name}", new_column_name=name, existing_type=new, nullable=False)


def _converted(value: Any) -> Any:
    if isinstance(value, bytes):
        return np.frombuffer(value, "<f8").tolist()
    return np.asarray(value, "<f8").tobytes()
