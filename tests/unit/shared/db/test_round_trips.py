"""Statements without a result are sent with the next one, or the commit, and lose nothing by it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.statements import Statement
from shared.db.tables import Base
from tests.support.fakes import FrozenClock
from tests.support.servers import PostgresServer

_PAUSED = Base.metadata.tables["queues"]
_INSERT = Statement(insert(_PAUSED))
_DELETE = Statement(delete(_PAUSED).where(_PAUSED.c.name == bindparam("of_name")))


def _row(name: str) -> dict[str, Any]:
    return {"name": name, "paused_at": FrozenClock().moment}


def _names(session: Session) -> list[str]:
    return list(session.scalars(select(_PAUSED.c.name).order_by(_PAUSED.c.name)))


@contextmanager
def _round_trips(session: Session, folder: Path) -> Iterator[Callable[[], int]]:
    """Yield a function that returns how often the session's connection has waited for its server since."""
    connection = cast("psycopg.Connection", session.connection().connection.dbapi_connection)
    with (folder / "trace").open("w+") as trace:
        connection.pgconn.trace(trace.fileno())

        def count() -> int:
            connection.pgconn.untrace()
            trace.seek(0)
            return sum("\tSync" in line or "\tQuery" in line for line in trace)

        yield count


def test_statements_are_sent_with_the_next_one_and_the_rest_with_the_commit(
    postgresql: Database, tmp_path: Path
) -> None:
    with postgresql.engine.connect() as connection, Session(connection) as session:
        assert not _names(session)
        with _round_trips(session, tmp_path) as round_trips:
            _INSERT.execute(session, _row("a"))
            _INSERT.execute(session, _row("b"), _row("c"))
            _DELETE.execute(session, {"of_name": "b"})
            assert _names(session) == ["a", "c"]
            _INSERT.execute(session, _row("d"))
            _DELETE.execute(session, {"of_name": "a"})
            session.commit()
            assert round_trips() == 2
    assert postgresql.read(_names) == ["c", "d"]


def test_they_are_executed_in_their_order_on_each_database(database: Database) -> None:
    def work(session: Session) -> list[str]:
        _INSERT.execute(session, _row("a"))
        _DELETE.execute(session, {"of_name": "a"})
        _INSERT.execute(session, _row("a"), _row("b"))
        session.execute(delete(_PAUSED).where(_PAUSED.c.name == "b"))
        with session.begin_nested():
            _INSERT.execute(session, _row("c"))
        return _names(session)

    assert database.write(work) == ["a", "c"]
    assert database.read(_names) == ["a", "c"]


@pytest.mark.parametrize("rows", [[_row("a"), _row("a")], [_row("a")] * 2 + [_row("b")] * 50_000])
def test_an_error_is_raised_by_the_commit_and_nothing_is_stored(
    database: Database, rows: list[dict[str, Any]]
) -> None:
    def work(session: Session) -> None:
        _INSERT.execute(session, _row("first"))
        _INSERT.execute(session, *rows)

    with pytest.raises(IntegrityError, match="queues"):
        database.write(work)
    database.write(lambda session: _INSERT.execute(session, _row("next")))
    assert database.read(_names) == ["next"]


def test_an_error_is_raised_by_the_next_statement(postgresql: Database) -> None:
    def work(session: Session) -> None:
        _INSERT.execute(session, _row("a"), _row("a"))
        with pytest.raises(IntegrityError, match="queues"):
            _names(session)
        session.rollback()

    postgresql.write(work)
    assert not postgresql.read(_names)


def test_a_rollback_forgets_what_waits(postgresql: Database) -> None:
    with postgresql.engine.connect() as connection, Session(connection) as session:
        _INSERT.execute(session, _row("a"))
        session.rollback()
        assert not _names(session)
        _INSERT.execute(session, _row("b"))
        with session.begin_nested() as inner:
            _INSERT.execute(session, _row("c"))
            inner.rollback()
        session.commit()
    assert postgresql.read(_names) == ["b"]


def test_a_lost_connection_is_an_outage_and_the_transaction_is_run_again(
    postgresql: Database, postgres_server: PostgresServer
) -> None:
    pids: list[Any] = []

    def work(session: Session) -> None:
        pids.append(session.connection().exec_driver_sql("SELECT pg_backend_pid()").scalar())
        _INSERT.execute(session, _row("a"))
        if len(pids) == 1:
            name = postgresql.engine.url.database or ""
            postgres_server.execute(f"SELECT pg_terminate_backend({pids[0]}, 5000)", name)

    postgresql.write(work)
    assert len(set(pids)) == 2
    assert postgresql.read(_names) == ["a"]
