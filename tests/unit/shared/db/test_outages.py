"""Each error of an outage, injected, is transient; an error about the statement or its values is not."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from shared.db import outages as outages_module
from shared.db.engine import Database
from shared.db.outages import Outages, Reason, is_transient, reason_of
from shared.db.tables import Job
from shared.store.submit import submit_job
from tests.support.databases import migrate, open_database
from tests.support.factories import make_new_job
from tests.support.injected_errors import OUTAGES, raising
from tests.support.queue_driver import submit
from tests.support.servers import PostgresServer, running_postgres

_PID = text("SELECT pg_backend_pid()")

DEFECTS = {
    "0A000": "feature not supported",
    "22021": "a NUL in a text",
    "22P02": "NaN in a JSON document",
    "23503": "a foreign key",
    "23505": "a unique key",
    "23514": "a check",
    "25006": "a write in a transaction that only reads",
    "25P02": "the transaction has failed already",
    "42501": "insufficient privilege",
    "42P01": "no such table",
    "54000": "program limit exceeded",
    "P0001": "a trigger",
    "XX000": "internal error",
    "XX001": "data corrupted",
}


@pytest.mark.parametrize("sqlstate", OUTAGES)
def test_a_transaction_that_an_outage_ends_is_run_again(postgresql: Database, sqlstate: str) -> None:
    new, runs = make_new_job(), []

    def work(session: Session) -> None:
        submit_job(session, new)
        runs.append(sqlstate)
        if len(runs) == 1:
            session.execute(text(raising(sqlstate)))

    postgresql.write(work)
    assert len(runs) == 2
    assert postgresql.read(lambda session: session.get(Job, new.id)) is not None


@pytest.mark.parametrize("sqlstate", DEFECTS)
def test_a_transaction_that_is_refused_for_its_own_fault_is_not_run_again(
    postgresql: Database, sqlstate: str
) -> None:
    runs = []

    def work(session: Session) -> None:
        runs.append(sqlstate)
        session.execute(text(raising(sqlstate)))

    with pytest.raises(DBAPIError) as error:
        postgresql.read(work)
    assert (len(runs), is_transient(error.value)) == (1, False)


@pytest.fixture
def read_only_server(postgresql: Database, postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """The server of `postgresql`, read-only until the test makes it writable or ends."""
    submit(postgresql)  # its connection is there before
    postgres_server.set_read_only(True)
    yield postgres_server
    postgres_server.set_read_only(False)


def test_a_write_waits_for_a_read_only_postgresql_on_new_connections(
    postgresql: Database, read_only_server: PostgresServer
) -> None:
    new, pids = make_new_job(), []

    def work(session: Session) -> None:
        pids.append(session.scalar(_PID))
        submit_job(session, new)

    writable = Timer(0.5, read_only_server.set_read_only, [False])
    writable.start()
    postgresql.write(work)
    writable.join()
    assert len(pids) > 1
    assert len(set(pids)) == len(pids), "each connection that met a read-only server is replaced"


@pytest.mark.usefixtures("read_only_server")
def test_a_read_only_postgresql_can_be_read(postgresql: Database) -> None:
    assert len(postgresql.read(lambda session: session.scalars(select(Job.id)).all())) == 1


@pytest.mark.usefixtures("read_only_server")
def test_a_write_that_a_read_only_postgresql_refuses_for_too_long_has_a_transient_error(
    postgresql_url: str,
) -> None:
    with (
        open_database(postgresql_url, patience_s=0) as database,
        pytest.raises(DBAPIError, match="read-only") as error,
    ):
        submit(database)
    assert is_transient(error.value)


@pytest.mark.slow
def test_a_write_waits_until_a_standby_is_promoted() -> None:
    with running_postgres() as server, open_database(migrate(server.url())) as database:
        server.demote()
        assert database.read(lambda session: session.scalars(select(Job.id)).all()) == []
        with (
            pytest.raises(DBAPIError, match="read-only") as error,
            open_database(server.url(), patience_s=0) as other,
        ):
            submit(other)
        assert is_transient(error.value)
        promotion = Timer(0.3, server.promote)
        promotion.start()
        job_id = submit(database)
        promotion.join()
        assert database.read(lambda session: session.get(Job, job_id)) is not None


def test_a_read_only_sqlite_file_is_an_outage(sqlite_url: str) -> None:
    new, runs = make_new_job(), []

    def work(session: Session) -> None:
        runs.append(new.id)
        if len(runs) == 1:
            session.execute(text("PRAGMA query_only = 1"))  # the error of a read-only file, for any user
        submit_job(session, new)

    with open_database(sqlite_url) as database:
        database.write(work)
        assert len(runs) == 2
        assert database.read(lambda session: session.get(Job, new.id)) is not None


def test_a_write_in_a_transaction_that_only_reads_is_no_outage(database: Database) -> None:
    with pytest.raises(DBAPIError) as error:
        database.read(lambda session: submit_job(session, make_new_job()))
    assert not is_transient(error.value)


def test_a_full_disk_is_an_outage(sqlite_url: str) -> None:
    def fill(session: Session) -> None:
        session.execute(text("PRAGMA max_page_count = 1"))  # no more than there are already
        session.execute(text("CREATE TABLE filling AS SELECT zeroblob(1000000) AS room"))

    with (
        open_database(sqlite_url, patience_s=0) as database,
        pytest.raises(DBAPIError, match="full") as error,
    ):
        database.write(fill)
    assert is_transient(error.value)


def test_a_file_that_cannot_be_opened_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "trainshed.db").mkdir()
    with (
        open_database(f"sqlite:///{tmp_path}/trainshed.db", patience_s=0) as database,
        pytest.raises(DBAPIError, match="unable to open") as error,
    ):
        database.read(lambda session: session.scalar(select(Job.id)))
    assert is_transient(error.value)


@pytest.mark.parametrize(
    ("code", "is_outage"),
    [
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True),
        (sqlite3.SQLITE_LOCKED_SHAREDCACHE, True),
        (sqlite3.SQLITE_IOERR_WRITE, True),
        (sqlite3.SQLITE_IOERR_FSYNC, True),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, True),
        (sqlite3.SQLITE_PROTOCOL, True),
        (sqlite3.SQLITE_CORRUPT, False),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, False),
        (sqlite3.SQLITE_ERROR, False),
        (None, False),
    ],
)
def test_sqlites_primary_code_decides(code: int | None, is_outage: bool) -> None:
    cause = sqlite3.OperationalError("injected")
    if code is not None:
        cause.sqlite_errorcode = code
    assert is_transient(OperationalError("SELECT", {}, cause)) is is_outage


def test_errors_of_the_caller_are_no_outage(database: Database) -> None:
    assert not is_transient(LookupError())
    with pytest.raises(DBAPIError) as error:
        database.write(lambda session: session.execute(text("SELECT * FROM no_such_table")))
    assert not is_transient(error.value)


@pytest.mark.parametrize(
    ("sqlstate", "reason"),
    [
        ("53100", Reason.FULL),
        ("53300", Reason.CONNECTIONS),
        ("55P03", Reason.LOCKED),
        ("57014", Reason.LOCKED),
        ("40P01", Reason.LOCKED),
        ("53200", Reason.UNAVAILABLE),
        ("57P01", Reason.UNAVAILABLE),
    ],
)
def test_the_reason_of_an_outage_is_postgresqls(postgresql: Database, sqlstate: str, reason: Reason) -> None:
    with pytest.raises(DBAPIError) as error, postgresql.engine.connect() as connection:
        connection.execute(text(raising(sqlstate)))
    assert reason_of(error.value) is reason


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("FATAL:  sorry, too many clients already", Reason.CONNECTIONS),
        ("FATAL:  remaining connection slots are reserved for roles", Reason.CONNECTIONS),
        ('FATAL:  too many connections for role "trainshed"', Reason.CONNECTIONS),
        ("FATAL:  no more connections allowed (max_client_conn)", Reason.CONNECTIONS),
        ("connection refused", Reason.UNAVAILABLE),
    ],
)
def test_the_words_tell_the_reason_where_connecting_fails(words: str, reason: Reason) -> None:
    assert reason_of(OperationalError("", {}, psycopg.OperationalError(words))) is reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (sqlite3.SQLITE_FULL, Reason.FULL),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Reason.LOCKED),
        (sqlite3.SQLITE_IOERR_WRITE, Reason.UNAVAILABLE),
    ],
)
def test_the_reason_of_an_outage_is_sqlites(code: int, reason: Reason) -> None:
    cause = sqlite3.OperationalError("injected")
    cause.sqlite_errorcode = code
    assert reason_of(OperationalError("", {}, cause)) is reason


def _locked() -> OperationalError:
    cause = sqlite3.OperationalError("database is locked")
    cause.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return OperationalError("", {}, cause)


def test_an_error_of_a_transaction_that_is_run_again_is_counted(database: Database) -> None:
    failures = [_locked()]

    def fails_once(_: Session) -> None:
        if failures:
            raise failures.pop()

    database.write(fails_once)
    # no request failed
    assert (database.outages.counts[Reason.LOCKED], database.outages.lately()) == (1, None)


def test_errors_that_are_no_outage_are_not_noted(database: Database) -> None:
    with pytest.raises(DBAPIError):
        database.write(lambda session: session.execute(text("SELECT * FROM no_such_table")))
    assert dict(database.outages.counts) == {}


def test_an_outage_is_logged_at_once_and_then_each_ten_seconds_and_shown_for_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1_000.0
    monkeypatch.setattr(outages_module, "monotonic", lambda: now)
    outages = Outages()
    assert outages.lately() is None
    lines = []
    for seconds in (0.0, 5.0, 9.9, 10.0, 15.0):
        now = 1_000.0 + seconds
        assert outages.explain(_locked()) is Reason.LOCKED
        lines.append(len(caplog.records))
    assert lines == [1, 1, 1, 2, 2]
    assert outages.explain(PoolTimeout("not committed")) is Reason.UNAVAILABLE  # another one
    assert len(caplog.records) == 3
    now += 59.0
    assert outages.lately() is Reason.UNAVAILABLE
    now += 1.0
    assert outages.lately() is None


def test_a_wait_that_is_given_up_has_the_reason_that_was_met_meanwhile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1_000.0
    monkeypatch.setattr(outages_module, "monotonic", lambda: now)
    outages = Outages()
    outages.note(_locked())
    now += 2.5
    assert outages.explain(PoolTimeout("not committed")) is Reason.LOCKED
    assert "database is locked" in str(caplog.records[0].msg)
    now += 2.5
    assert outages.explain(PoolTimeout("not committed")) is Reason.UNAVAILABLE
