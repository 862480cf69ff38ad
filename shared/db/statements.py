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
from functools import cache
from operator import itemgetter
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import (
    JSON,
    BindParameter,
    Connection,
    Delete,
    Dialect,
    Engine,
    Insert,
    Integer,
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
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler

_MAY_WAIT = "trainshed_may_wait"  # execution option
_NUMBER = "row_number"

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
        self._joined: dict[tuple[str, ...], Statement] = {}

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
        """Execute it with each of these, which have the same names; return the row of each, or None.

        On PostgreSQL that is one execution, for which it gets all rows as one JSON document: to begin an
        UPDATE takes longer there than to change a row.
        """
        if len(rows) < 2 or session.get_bind().dialect.name == "sqlite":
            return [self.one_or_none(session, row) for row in rows]
        document = json.dumps([{**row, _NUMBER: number} for number, row in enumerate(rows)], default=_text)
        together = self._together(tuple(rows[0]))
        found = together.all(session, {"rows": document, "row_count": len(rows)})
        by_number = {getattr(row, _NUMBER): row for row in found}
        return [by_number.get(number) for number in range(len(rows))]

    def _together(self, names: tuple[str, ...]) -> "Statement":
        statement = self._joined.get(names)
        if statement is None:
            statement = self._joined[names] = Statement(_joined(self._statement, names))
        return statement

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


def _joined(statement: Any, names: Sequence[str]) -> Any:
    """Return an UPDATE whose parameters are the columns of rows in a JSON document, the parameter `rows`.

    Names that are no parameters of it are those of columns that change.
    """
    table, binds = statement.table, dict[str, Any]()
    visitors.traverse(statement, {}, {"bindparam": lambda bind: binds.setdefault(bind.key, bind.type)})
    changed = {name: table.c[name].type for name in names if name not in binds}
    statement = statement.values({name: bindparam(name, type_=type_) for name, type_ in changed.items()})
    statement = statement.returning(bindparam(_NUMBER, type_=Integer()).label(_NUMBER))
    typed = [column(name, (binds | changed)[name]) for name in names]
    document = cast(bindparam("rows", type_=Text()), JSON)
    recordset = func.json_to_recordset(document).table_valued(*typed, column(_NUMBER, Integer()), name="r")
    # by the limit the planner knows that they are few
    few = bindparam("row_count", type_=Integer())
    rows = select(recordset.render_derived(with_types=True)).limit(few).subquery()

    def replace(element: Any, **_: Any) -> Any:
        is_given = isinstance(element, BindParameter) and element.key in (*names, _NUMBER)
        return rows.c[element.key] if is_given else None

    joined = visitors.replacement_traverse(statement, {}, replace)
    for name in ("_all_selected_columns", "exported_columns"):
        vars(joined).pop(name, None)  # SQLAlchemy copies those that the statement was seen to return
    return joined


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
