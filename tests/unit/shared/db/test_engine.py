"""Transactions are atomic, wait for locks, are retried after transient errors, and end after a time limit."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Thread, Timer
from time import monotonic
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Connection, event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InternalError, OperationalError
from sqlalchemy.orm import Session

from shared.db import engine
from shared.db.engine import Database, insert_or_ignore, upsert
from shared.db.tables import Checkpoint, Job
from shared.store.submit import submit_job
from tests.support.databases import migrate, open_database
from tests.support.factories import make_new_job, submitted
from tests.support.servers import PostgresServer
from tests.support.statements import recorded_statements
from tests.support.waiting import wait_until

_COUNT = select(func.count()).select_from(Job)


def _count(database: Database) -> int:
    return database.read(lambda session: session.scalar(_COUNT)) or 0


def _submit(session: Session) -> UUID:
    return submit_job(session, make_new_job())[0]


@pytest.fixture
def impatient_sqlite(sqlite_url: str) -> Iterator[Database]:
    """The SQLite database, opened with a patience of 0.2 s."""
    with open_database(sqlite_url, patience_s=0.2) as database:
        yield database


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    with open_database(sqlite_url) as database:
        yield database


@pytest.fixture
def exclusive_lock(sqlite_url: str) -> Iterator[Callable[[], None]]:
    """Another program has locked the SQLite file; calling the fixture releases the lock."""
    other = sqlite3.connect(str(make_url(sqlite_url).database), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    yield other.rollback
    other.close()


def test_a_write_is_committed_and_returns_the_result_of_its_function(database: Database) -> None:
    job_id = database.write(_submit)
    assert database.read(lambda session: session.get_one(Job, job_id).id) == job_id


def test_a_write_that_raises_is_rolled_back_and_not_retried(database: Database) -> None:
    runs = []

    def fails(session: Session) -> None:
        runs.append(_submit(session))
        raise LookupError("the work's own error")

    with pytest.raises(LookupError):
        database.write(fails)
    assert (len(runs), _count(database)) == (1, 0)


def test_a_permanent_error_is_not_retried(database: Database) -> None:
    new = make_new_job(max_attempts=0)
    with pytest.raises(IntegrityError):
        database.write(lambda session: submit_job(session, new))
    assert _count(database) == 0


def test_a_read_sees_one_snapshot_and_does_not_block_writers(database: Database) -> None:
    submitted(database)

    def reads(session: Session) -> list[int | None]:
        before = session.scalar(_COUNT)
        submitted(database)
        return [before, session.scalar(_COUNT)]

    assert database.read(reads) == [1, 1]
    assert _count(database) == 2


def test_a_read_that_writes_is_refused(database: Database) -> None:
    with pytest.raises((OperationalError, InternalError), match=r"readonly|read-only"):
        database.read(_submit)
    assert database.write(_submit) is not None
    assert _count(database) == 1


def test_a_commit_whose_reply_was_lost_is_retried(database: Database) -> None:
    new, runs = make_new_job(), []

    def work(session: Session) -> UUID:
        runs.append(session)
        if len(runs) == 1:
            event.listen(session, "after_commit", lose_the_reply)
        return submit_job(session, new)[0]

    def lose_the_reply(_session: Session) -> None:
        raise OperationalError("COMMIT", {}, Exception(), connection_invalidated=True)

    assert database.write(work) == new.id
    assert (len(runs), _count(database)) == (2, 1)


@pytest.mark.parametrize("wrote_before", [False, True])
def test_a_transaction_whose_connection_was_cut_is_retried_on_a_new_connection(
    postgresql: Database, postgres_server: PostgresServer, wrote_before: bool
) -> None:
    # a failover, a restart and an administrator end connections as pg_terminate_backend does
    new, runs = make_new_job(), []

    def work(session: Session) -> None:
        runs.append(session.scalar(text("SELECT pg_backend_pid()")))
        if wrote_before:
            submit_job(session, new)
        if len(runs) == 1:
            _terminate(postgres_server, runs[0])
        submit_job(session, new)

    postgresql.write(work)
    assert len(set(runs)) == 2
    assert _count(postgresql) == 1


def test_a_transaction_that_was_idle_for_too_long_is_ended_by_the_server_and_retried(
    postgresql: Database,
) -> None:
    new, runs = make_new_job(), []

    def work(session: Session) -> None:
        runs.append(session.scalar(text("SELECT pg_backend_pid()")))
        assert session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "10s"
        if len(runs) == 1:
            session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '1ms'"))
            wait_until(lambda: not _is_alive(postgresql, runs[0]), "the server has cut the connection")
        submit_job(session, new)

    postgresql.write(work)
    assert len(set(runs)) == 2
    assert _count(postgresql) == 1


def _is_alive(database: Database, pid: object) -> bool:
    backends = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
    return bool(database.read(lambda session: session.scalar(backends, {"pid": pid})))


def test_a_connection_cut_between_transactions_is_replaced_without_a_retry(
    postgresql: Database, postgres_server: PostgresServer
) -> None:
    pid = postgresql.read(lambda session: session.scalar(text("SELECT pg_backend_pid()")))
    _terminate(postgres_server, pid)
    runs = []
    postgresql.write(lambda session: runs.append(_submit(session)))
    assert len(runs) == 1


def _terminate(server: PostgresServer, pid: object) -> None:
    server.execute(f"SELECT pg_terminate_backend({pid}, 5000)")  # waits until it has ended


def test_retries_end_after_the_patience_when_every_connection_is_cut(postgresql_url: str) -> None:
    runs = []

    def work(session: Session) -> None:
        runs.append(session)
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with open_database(postgresql_url, patience_s=0.3) as database:
        started = monotonic()
        with pytest.raises(DBAPIError):
            database.write(work)
    assert len(runs) > 1
    assert 0.3 <= monotonic() - started < 3


def test_retries_end_after_the_patience_when_the_server_is_unreachable(tmp_path: Path) -> None:
    database = Database(f"postgresql+psycopg://postgres@/postgres?host={tmp_path}", patience_s=0.3)
    started = monotonic()
    with pytest.raises(OperationalError):
        database.read(lambda session: session.scalar(_COUNT))
    assert 0.3 <= monotonic() - started < 3


def test_both_transactions_of_a_deadlock_are_committed_in_the_end(
    postgresql: Database,
) -> None:
    ids, both_hold_a_lock = (submitted(postgresql), submitted(postgresql)), Barrier(2, timeout=10)
    runs = []

    def work(session: Session, first: UUID, second: UUID) -> None:
        session.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
        runs.append(first)
        session.get_one(Job, first, with_for_update=True).failures += 1
        session.flush()
        if runs.count(first) == 1:
            both_hold_a_lock.wait()
        session.get_one(Job, second, with_for_update=True).failures += 1

    threads = [
        Thread(target=postgresql.write, args=(lambda session, a=a, b=b: work(session, a, b),))
        for a, b in (ids, ids[::-1])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failures = postgresql.read(lambda session: session.scalars(select(Job.failures)).all())
    assert failures == [2, 2]
    assert len(runs) > 2


def test_a_write_locks_sqlite_before_its_first_read(sqlite_url: str, sqlite: Database) -> None:
    # without the lock, a write of another connection after the read would make this write fail
    other = sqlite3.connect(str(make_url(sqlite_url).database), isolation_level=None, timeout=0)

    def reads(session: Session) -> None:
        session.scalar(_COUNT)
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            other.execute("BEGIN IMMEDIATE")

    sqlite.write(reads)
    other.close()


def test_a_write_waits_for_another_programs_lock(
    sqlite: Database, exclusive_lock: Callable[[], None]
) -> None:
    release = Timer(0.2, exclusive_lock)
    release.start()
    sqlite.write(_submit)
    release.join()
    assert _count(sqlite) == 1


@pytest.fixture
def writing(impatient_sqlite: Database) -> Iterator[Callable[[], None]]:
    """Another thread is within a write transaction until the test calls this function."""
    begun, release = Event(), Event()

    def write(session: Session) -> None:
        _submit(session)
        begun.set()
        release.wait()

    with ThreadPoolExecutor(1) as thread:
        written = thread.submit(impatient_sqlite.write, write)
        begun.wait()
        yield release.set
        release.set()
        written.result()


def test_a_write_begins_after_that_of_another_thread(
    impatient_sqlite: Database, writing: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_SQLITE_BUSY_S", 60.0)
    with recorded_statements(impatient_sqlite) as statements, ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(impatient_sqlite.write, _submit)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        assert statements == []
        writing()
        waiting.result(timeout=10)
    assert _count(impatient_sqlite) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("writing")
def test_a_write_does_not_wait_for_another_thread_beyond_the_busy_timeout(
    impatient_sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_SQLITE_BUSY_S", 0.1)
    with pytest.raises(OperationalError, match="database is locked"):
        impatient_sqlite.write(_submit)


@pytest.mark.slow
def test_a_write_fails_when_another_program_holds_the_lock_beyond_the_patience(
    impatient_sqlite: Database, exclusive_lock: Callable[[], None]
) -> None:
    started = monotonic()
    with pytest.raises(OperationalError, match="database is locked"):
        impatient_sqlite.write(_submit)
    assert 0.2 <= monotonic() - started < 3
    exclusive_lock()
    impatient_sqlite.write(_submit)
    assert _count(impatient_sqlite) == 1


@pytest.mark.usefixtures("exclusive_lock")
def test_a_read_does_not_wait_for_another_programs_lock(impatient_sqlite: Database) -> None:
    assert _count(impatient_sqlite) == 0
    assert impatient_sqlite.is_migrated()


def test_sqlite_is_configured_on_every_connection(sqlite: Database) -> None:
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")

    def configured(connection: Connection) -> list[object]:
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]

    # synchronous 2 is FULL
    with sqlite.engine.connect() as one_that_writes, sqlite.read_engine.connect() as other:
        assert configured(other) == configured(one_that_writes) == ["wal", 2, 1, 1_000]


def test_sqlite_compiles_no_statement_again_because_a_transaction_reads_or_writes(sqlite: Database) -> None:
    # each PRAGMA that changes a setting has the connection's statements compiled again
    with recorded_statements(sqlite) as statements:
        sqlite.write(_submit)
        assert _count(sqlite) == 1
        sqlite.write(_submit)
    assert [sql for sql, _ in statements if sql.startswith("PRAGMA")] == []


def test_the_folder_of_the_sqlite_file_is_created(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path}/new/folder/trainshed.db")
    assert (tmp_path / "new" / "folder" / "trainshed.db").is_file()


def test_insert_or_ignore_keeps_the_existing_row(database: Database) -> None:
    job_id = submitted(database)
    row = {"job_id": job_id, "next_epoch": 1, "state": b"first", "sha256": "x"}
    inserted = [
        database.write(lambda session: insert_or_ignore(session, Checkpoint, row)),
        database.write(lambda session: insert_or_ignore(session, Checkpoint, {**row, "state": b"second"})),
    ]
    assert inserted == [True, False]
    assert database.read(lambda session: session.get_one(Checkpoint, job_id).state) == b"first"


def test_upsert_replaces_the_existing_row(database: Database) -> None:
    job_id = submitted(database)
    row = {"job_id": job_id, "next_epoch": 1, "state": b"first", "sha256": "x"}
    database.write(lambda session: upsert(session, Checkpoint, row))
    database.write(lambda session: upsert(session, Checkpoint, {**row, "next_epoch": 2, "state": b"second"}))
    stored = database.read(lambda session: session.get_one(Checkpoint, job_id))
    assert (stored.next_epoch, stored.state) == (2, b"second")


def test_postgresql_starts_no_parallel_workers_and_prefers_indexes(postgresql: Database) -> None:
    names = ("max_parallel_workers_per_gather", "random_page_cost")
    values = postgresql.read(lambda session: [session.scalar(text(f"SHOW {name}")) for name in names])
    assert values == ["0", "1.1"]


def test_a_connection_that_is_returned_after_the_end_is_closed(database_url: str) -> None:
    database = Database(database_url)
    connection = database.engine.connect()
    raw = connection.connection.driver_connection
    assert raw is not None
    database.dispose()
    raw.execute("SELECT 1")
    connection.close()
    with pytest.raises((sqlite3.ProgrammingError, psycopg.OperationalError), match="closed"):
        raw.execute("SELECT 1")
