"""INSERTs into tables that may have the row already."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert

from shared.db.tables import Base


def _insert(dialect: str, table: type[Base] | Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def insert_or_ignore(session: Session, table: type[Base], values: Mapping[str, Any]) -> bool:
    """Insert a row unless its key exists; return whether it was inserted."""
    statement = _insert_or_ignore(session, table).values(**values)
    return session.execute(statement).first() is not None


def insert_new(
    session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]]
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Insert the rows whose keys do not exist, by one statement; return their keys, in no order."""
    return session.execute(_insert_or_ignore(session, table), rows).all()


def _insert_or_ignore(session: Session, table: type[Base]) -> ReturningInsert[*tuple[Any, ...]]:
    statement = _insert(session.get_bind().dialect.name, table).on_conflict_do_nothing()
    return statement.returning(*table.__table__.primary_key)


def upsert(
    session: Session,
    table: type[Base],
    values: Mapping[str, Any],
    may_replace: ColumnElement[bool] | None = None,
) -> bool:
    """Insert a row, or replace the row with the same primary key if that row meets a condition.

    Returns:
        Whether the row is as given now.
    """
    key = [column.name for column in table.__table__.primary_key]
    rest = {name: value for name, value in values.items() if name not in key}
    insert = _insert(session.get_bind().dialect.name, table)
    statement = insert.values(**values)
    replace = statement.on_conflict_do_update(index_elements=key, set_=rest, where=may_replace)
    return session.execute(replace.returning(*table.__table__.primary_key)).first() is not None


def replace_if(
    dialect: str, table: Table, may_replace: ColumnElement[bool]
) -> sqlite.Insert | postgresql.Insert:
    """Return the INSERT of rows that replaces those with the same primary key if they meet a condition."""
    statement = _insert(dialect, table)
    rest = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=table.primary_key, set_=rest, where=may_replace)


def upsert_of(
    dialect: str,
    table: Table,
    values: Mapping[str, Any],
    changes: Mapping[str, Any],
    *,
    where: ColumnElement[bool] | None = None,
) -> ReturningInsert[*tuple[Any, ...]]:
    """Return the statement that inserts a row, or changes the row with the same primary key.

    Args:
        values: those of a new row, SQL or parameters.
        changes: the columns of an existing row that change.
        where: nothing is done unless this holds.

    Returns:
        The statement, which returns the row as it is then.
    """
    statement = _insert(dialect, table)
    if where is None:
        statement = statement.values(**values)
    else:
        statement = statement.from_select(list(values), select(*values.values()).where(where))
    changed = statement.on_conflict_do_update(index_elements=table.primary_key, set_=changes)
    return changed.returning(*table.c)
