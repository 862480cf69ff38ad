"""Fewer round trips to PostgreSQL: writes whose results nobody reads are sent with what follows them.

That is the next statement of their transaction, or its commit. PostgreSQL executes them in their order, and
after an error none of the rest. The error is raised by what they were sent with: it names the table itself.
"""

from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExecutionContext

_MAY_WAIT = "trainshed_may_wait"  # execution option

_Statement = tuple[str, Any, bool]  # its SQL; its values; whether they are many rows

_waiting: WeakKeyDictionary[Any, list[_Statement]] = WeakKeyDictionary()  # by the driver's connection


def execute_with_next(connection: Connection, sql: str, values: Any) -> None:
    """Execute a statement that returns nothing, on PostgreSQL not before the next one, or the commit.

    Args:
        values: as the driver expects them: of one row, or a list of rows.
    """
    connection.exec_driver_sql(sql, values, execution_options={_MAY_WAIT: True})


def save_round_trips(engine: Engine) -> None:
    """Have statements of `execute_with_next` wait on the connections of an engine for PostgreSQL."""

    @event.listens_for(engine, "do_execute")
    def _one(cursor: Any, sql: str, values: Any, context: ExecutionContext) -> bool:
        return _send_or_wait(cursor, (sql, values, False), context)

    @event.listens_for(engine, "do_executemany")
    def _many(cursor: Any, sql: str, values: Any, context: ExecutionContext) -> bool:
        return _send_or_wait(cursor, (sql, values, True), context)

    @event.listens_for(engine, "commit")
    def _send_with_commit(connection: Connection) -> None:
        if _waiting.get(connection.connection.dbapi_connection):
            # psycopg's own COMMIT then finds no transaction, and sends nothing
            connection.exec_driver_sql("COMMIT")

    @event.listens_for(engine, "rollback")
    @event.listens_for(engine, "rollback_savepoint")
    def _forget(connection: Connection, *_savepoint: Any) -> None:
        if not connection.invalidated:
            _waiting.pop(connection.connection.dbapi_connection, None)


def _send_or_wait(cursor: Any, statement: _Statement, context: ExecutionContext) -> bool:
    """Return whether a statement is done with; False has SQLAlchemy execute it."""
    if context.execution_options.get(_MAY_WAIT):
        _waiting.setdefault(cursor.connection, []).append(statement)
        return True
    waiting = _waiting.pop(cursor.connection, None)
    if not waiting:
        return False
    with cursor.connection.pipeline():
        for each in waiting:
            _execute(cursor.connection.cursor(), each)
        _execute(cursor, statement)
    return True


def _execute(cursor: psycopg.Cursor[Any], statement: _Statement) -> None:
    sql, values, are_many = statement
    if are_many:
        cursor.executemany(sql, values)
    else:
        cursor.execute(sql, values)
