"""Everything that is stored, to compare before with after."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.tables import Base


def everything(session: Session) -> dict[str, list[Any]]:
    """Every row of every table."""
    return {
        table.name: list(session.execute(select(table).order_by(*table.primary_key)))
        for table in Base.metadata.sorted_tables
    }
