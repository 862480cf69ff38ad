"""Keyset pagination: the next rows of a table after a key, newest first."""

from typing import TypeVar
from uuid import UUID

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import Session

from shared.db.tables import ApiKey, Model, Sweep, Webhook, WebhookDelivery
from shared.schemas import UtcTime

Row = TypeVar("Row", ApiKey, Model, Sweep, Webhook, WebhookDelivery)

CreationKey = tuple[UtcTime, UUID]
"""The sort key of rows that are listed newest first: creation time and id."""


def newest_first(
    session: Session, statement: Select[Row], table: type[Row], *, after: CreationKey | None, limit: int
) -> list[tuple[CreationKey, Row]]:
    """Return up to `limit` rows of a statement with their keys, newest first.

    Args:
        statement: selects rows of `table`; without order or limit.
        after: the key of the last row of the previous page; None for the first page.
    """
    key = (table.created_at, table.id)
    if after is not None:
        statement = statement.where(tuple_(*key) < after)
    rows = session.scalars(statement.order_by(*(column.desc() for column in key)).limit(limit))
    return [((row.created_at, row.id), row) for row in rows]
