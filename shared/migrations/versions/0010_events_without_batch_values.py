"""Events of recorded epochs: the batches' values are removed; the table `epochs` has them."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_EVENTS = sa.table(
    "job_events",
    sa.column("job_id", sa.Uuid()),
    sa.column("seq", sa.Integer()),
    sa.column("type", sa.String()),
    sa.column("data", sa.JSON()),
)
_KEY = (_EVENTS.c.job_id, _EVENTS.c.seq)
_PAGE = 500  # bounds the memory that a large table takes


def upgrade() -> None:
    connection = op.get_bind()
    recorded = sa.select(*_KEY, _EVENTS.c.data).where(_EVENTS.c.type == "epochs_recorded")
    page = recorded.order_by(*_KEY).limit(_PAGE)
    update = sa.update(_EVENTS).where(
        _EVENTS.c.job_id == sa.bindparam("id"), _EVENTS.c.seq == sa.bindparam("number")
    )
    rows = connection.execute(page).all()
    while rows:
        values = [{"id": row.job_id, "number": row.seq, "data": _summary(row.data)} for row in rows]
        connection.execute(update, values)
        last = (sa.literal(rows[-1].job_id, sa.Uuid()), sa.literal(rows[-1].seq))
        rows = connection.execute(page.where(sa.tuple_(*_KEY) > sa.tuple_(*last))).all()


def downgrade() -> None:
    pass  # the version before reads such events too


def _summary(data: dict[str, Any]) -> dict[str, Any]:
    epochs = [
        {name: value for name, value in epoch.items() if not name.startswith("batch_")}
        for epoch in data["epochs"]
    ]
    return {**data, "epochs": epochs}
