"""How the statements of the hot path are run: compiled once, sent by the driver itself, together if possible.

SQLAlchemy finds the compiled form of a statement, binds its parameters and wraps its result anew at each
execution, which takes several times as long as SQLite needs for a short INSERT. Events, errors and the
connection's state are handled by SQLAlchemy as for any other statement.

On PostgreSQL a statement whose result nobody reads is sent with what follows it: the next statement of its
transaction, or its commit. PostgreSQL executes them in their order, and after an error none of the rest. The
error is raised by what they were sent with: it names the table itself.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    JSON,
    BindParameter,
    Connection,
    Delete,
    Dialect,
    Engine,
    Insert,
    Select,
    Table,
    Text,
    Update,
    bindparam,
    cast,
    column,
    event,
    func,
    insert,
    select,
)
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

_MAY_WAIT, _EACH = "trainshed_may_wait", "trainshed_each"  # execution options

Parameters = Mapping[str, Any]
_Convert = Callable[[Any], Any]
_Statement = tuple[str, Any, bool]  # its SQL; its values; whether they are many rows

_waiting: WeakKeyDictionary[Any, list[_Statement]] = WeakKeyDictionary()  # by the driver's connection


class Statement:
    """A statement that is executed often, with parameters of few different names."""

    def __init__(self, statement: Insert | Update | Delete | Select[Any]) -> None:
        """Take a statement; it is compiled for each kind of database, and each set of parameters, once."""
        self._statement = statement
        self._compiled: dict[tuple[str, ...], _Compiled] = {}

    def execute(self, session: Session, *rows: Parameters) -> None:
        """Execute it with each of these, which have the same names, and read no result."""
        if not rows:
            return
        connection = session.connection()
        compiled = self._for(connection.dialect, rows[0])
        values = [compiled.bind(row) for row in rows]
        execute_with_next(connection, compiled.sql, values if len(rows) > 1 else values[0])

    def all(self, session: Session, parameters: Parameters) -> list[Any]:
        """Execute it; return the rows that it returns, each with an attribute a column."""
        connection = session.connection()
        compiled = self._for(connection.dialect, parameters)
        result = connection.exec_driver_sql(compiled.sql, compiled.bind(parameters))
        types = [each[1] for each in result.cursor.description]  # the cursor is closed with the last row
        return [compiled.row(row, types) for row in result.all()]

    def one_or_none(self, session: Session, parameters: Parameters) -> Any:
        """Execute it; return the one row that it returns, with an attribute a column, or None."""
        rows = self.all(session, parameters)
        assert len(rows) < 2, "a statement that returns one row or none"
        return rows[0] if rows else None

    def each(self, session: Session, rows: Sequence[Parameters]) -> list[Any]:
        """Execute it with each of these in one round trip; return the row of each, or None."""
        if len(rows) < 2:
            return [self.one_or_none(session, row) for row in rows]
        connection = session.connection()
        compiled = self._for(connection.dialect, rows[0])
        found, values = _Found(), [compiled.bind(row) for row in rows]
        connection.exec_driver_sql(compiled.sql, values, execution_options={_EACH: found}).close()
        return [None if row is None else compiled.row(row, found.types) for row in found.rows]

    def _for(self, dialect: Dialect, parameters: Parameters) -> "_Compiled":
        key = (dialect.name, *parameters)
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = _Compiled(self._statement, dialect, list(parameters))
        return compiled


class _Compiled:
    """A statement in the SQL of a dialect, and how its values are converted."""

    def __init__(
        self, statement: Insert | Update | Delete | Select[Any], dialect: Dialect, names: Sequence[str]
    ) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=names)
        assert isinstance(compiled, SQLCompiler)
        assert not compiled.prefetch, "a default that Python computes"
        assert not compiled.post_compile_params, "an IN whose length depends on the values"
        self.sql = str(compiled)
        binds = {name: bind for bind, name in compiled.bind_names.items()}
        self._names = None if compiled.positional else list(binds)
        self._values = [_value(binds[name], names, dialect) for name in compiled.positiontup or binds]
        columns = [] if isinstance(statement, Insert) else list(statement.exported_columns)
        self._dialect = dialect
        self._types = [each.type.dialect_impl(dialect) for each in columns]
        self._results: list[_Convert | None] = []
        self._columns = [str(each.key) for each in columns]

    def bind(self, parameters: Parameters) -> Any:
        """Return what the driver gets: a tuple, or a dictionary if it knows parameters by name."""
        values = [value(parameters) for value in self._values]
        return tuple(values) if self._names is None else dict(zip(self._names, values, strict=True))

    def row(self, row: Sequence[Any], types: Sequence[Any]) -> Any:
        """Return a row of the result, converted; `types` are the driver's types of its columns."""
        if not self._results:
            each = zip(self._types, types, strict=True)
            self._results = [type_.result_processor(self._dialect, driver) for type_, driver in each]
        pairs = zip(self._results, row, strict=True)
        values = [value if convert is None else convert(value) for convert, value in pairs]
        return SimpleNamespace(**dict(zip(self._columns, values, strict=True)))


def _value(bind: BindParameter[Any], names: Sequence[str], dialect: Dialect) -> Callable[[Parameters], Any]:
    """Return a function that returns the converted value of a placeholder."""
    key, convert = bind.key, bind.type.dialect_impl(dialect).bind_processor(dialect)
    if key in names:
        return itemgetter(key) if convert is None else lambda parameters: convert(parameters[key])
    if bind.callable is not None:
        return lambda _: bind.effective_value if convert is None else convert(bind.effective_value)
    assert not bind.required, f"no value of the parameter {key}"
    constant = bind.value if convert is None else convert(bind.value)
    return lambda _: constant


def insert_rows(session: Session, table: Table, rows: Sequence[Parameters]) -> None:
    """Insert rows that have the same columns; values that differ from JSON's types are sent as texts.

    Large bytes are better sent by `Statement.execute`.

    PostgreSQL gets all rows as one JSON document, which is three times as fast as a statement a row. A
    column's default is computed once for all rows there.
    """
    if not rows:
        return
    if session.get_bind().dialect.name == "sqlite":
        _insert(table).execute(session, *rows)
    else:
        document = json.dumps(rows, default=_text)
        _insert_json(table, tuple(rows[0])).execute(session, {"rows": document})


def _text(value: object) -> str:
    return rf"\x{value.hex()}" if isinstance(value, bytes) else str(value)


@cache
def _insert(table: Table) -> Statement:
    return Statement(insert(table))


@cache
def _insert_json(table: Table, columns: tuple[str, ...]) -> Statement:
    """INSERT ... SELECT ... FROM json_to_recordset(...); built once, which takes longer than running it."""
    document = cast(bindparam("rows", type_=Text()), JSON)
    typed = [column(name, table.c[name].type) for name in columns]
    rows = func.json_to_recordset(document).table_valued(*typed, name="r").render_derived(with_types=True)
    return Statement(insert(table).from_select(columns, select(*(rows.c[name] for name in columns))))


def execute_with_next(connection: Connection, sql: str, values: Any) -> None:
    """Execute a statement that returns nothing, on PostgreSQL not before the next one, or the commit.

    Args:
        values: as the driver expects them: of one row, or a list of rows.
    """
    connection.exec_driver_sql(sql, values, execution_options={_MAY_WAIT: True})


@dataclass
class _Found:
    """The rows that a statement has returned for several sets of values, and the types of their columns."""

    rows: list[Any] = field(default_factory=list)
    types: list[Any] = field(default_factory=list)

    def add(self, cursor: Any) -> None:
        """Add the row, or None, of the result that a driver's cursor has."""
        self.types = self.types or [each[1] for each in cursor.description]
        self.rows.append((cursor.fetchall() or [None])[0])


def return_each(engine: Engine) -> None:
    """Let the connections of an engine for SQLite run `Statement.each`."""

    @event.listens_for(engine, "do_executemany")
    def _many(cursor: Any, sql: str, values: Any, context: ExecutionContext) -> bool:
        found: _Found | None = context.execution_options.get(_EACH)
        if found is None:
            return False
        for each in values:
            cursor.execute(sql, each)
            found.add(cursor)
        return True


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
    found: _Found | None = context.execution_options.get(_EACH)
    if not waiting and found is None:
        return False
    with cursor.connection.pipeline():
        for each in waiting or ():
            _execute(cursor.connection.cursor(), each)
        _execute(cursor, statement, returning=found is not None)
    while found is not None:
        found.add(cursor)
        if not cursor.nextset():
            break
    return True


def _execute(cursor: Any, statement: _Statement, *, returning: bool = False) -> None:
    sql, values, are_many = statement
    if are_many:
        cursor.executemany(sql, values, returning=returning)
    else:
        cursor.execute(sql, values)
