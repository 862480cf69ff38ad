"""Everything that is stored, to compare before with after."""

from typing import Any

from sqlalchemy import Column, Table, select
from sqlalchemy.orm import Session

from shared.db.tables import Base, JobEvent


def everything(session: Session) -> dict[str, list[Any]]:
    """Every row of every table, but for the events' positions, which are drawn anew for each."""
    return {
        table.name: list(session.execute(select(*_compared(table)).order_by(*table.primary_key)))
        for table in Base.metadata.sorted_tables
    }


def _compared(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if column is not JobEvent.__table__.c.position]
