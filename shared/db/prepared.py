"""Statements of the hot path, compiled once and sent by the driver itself.

SQLAlchemy finds the compiled form of a statement, binds its parameters and wraps its result anew at each
execution, which takes several times as long as SQLite needs for a short INSERT. Events, errors and the
connection's state are handled by SQLAlchemy as for any other statement.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from types import SimpleNamespace
from typing import Any

from sqlalchemy import BindParameter, Delete, Dialect, Insert, Select, Update
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler

from shared.db.round_trips import execute_with_next

Parameters = Mapping[str, Any]
_Convert = Callable[[Any], Any]


class Prepared:
    """A statement that is executed often, with parameters of few different names."""

    def __init__(self, statement: Insert | Update | Delete | Select[Any]) -> None:
        """Take a statement; it is compiled for each kind of database, and each set of parameters, once."""
        self._statement = statement
        self._compiled: dict[tuple[str, ...], _Compiled] = {}

    def execute(self, session: Session, parameters: Parameters) -> None:
        """Execute it: on PostgreSQL with the transaction's next statement, or its commit."""
        connection = session.connection()
        compiled = self._for(connection.dialect, parameters)
        execute_with_next(connection, compiled.sql, compiled.bind(parameters))

    def one_or_none(self, session: Session, parameters: Parameters) -> Any:
        """Execute it; return the one row that it returns, with an attribute a column, or None."""
        connection = session.connection()
        compiled = self._for(connection.dialect, parameters)
        result = connection.exec_driver_sql(compiled.sql, compiled.bind(parameters))
        types = [each[1] for each in result.cursor.description]  # the cursor is closed with the last row
        row = result.one_or_none()
        return None if row is None else compiled.row(row, types)

    def execute_many(self, session: Session, rows: Sequence[Parameters]) -> None:
        """Execute it once for each of these, as `execute` does; all have the same names."""
        if not rows:
            return
        connection = session.connection()
        compiled = self._for(connection.dialect, rows[0])
        execute_with_next(connection, compiled.sql, [compiled.bind(row) for row in rows])

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
