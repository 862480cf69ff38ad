"""Bulk inserts: any number of rows by one statement."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import JSON, Table, Text, bindparam, cast, column, func, insert, select
from sqlalchemy.orm import Session

from shared.db.prepared import Prepared


def insert_rows(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that have the same columns; values that differ from JSON's types are sent as texts.

    PostgreSQL gets all rows as one JSON document, which is three times as fast as a statement a row. A
    column's default is computed once for all rows there.
    """
    if not rows:
        return
    if session.get_bind().dialect.name == "sqlite":
        _insert(table).execute_many(session, rows)
    else:
        document = json.dumps(rows, default=str)
        _insert_json(table, tuple(rows[0])).execute(session, {"rows": document})


@cache
def _insert(table: Table) -> Prepared:
    return Prepared(insert(table))


@cache
def _insert_json(table: Table, columns: tuple[str, ...]) -> Prepared:
    """INSERT ... SELECT ... FROM json_to_recordset(...); built once, which takes longer than running it."""
    document = cast(bindparam("rows", type_=Text()), JSON)
    typed = [column(name, table.c[name].type) for name in columns]
    rows = func.json_to_recordset(document).table_valued(*typed, name="r").render_derived(with_types=True)
    return Prepared(insert(table).from_select(columns, select(*(rows.c[name] for name in columns))))
