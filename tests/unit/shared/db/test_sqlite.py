"""SQLite's file: its configuration, and how writers of several threads and programs take turns."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Timer
from time import monotonic
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Job
from shared.store.submit import submit_job
from tests.support.databases import migrate, open_database
from tests.support.factories import make_new_job
from tests.support.statements import recorded_statements
from tests.support.stored import count_jobs


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


def test_a_write_locks_sqlite_before_its_first_read(sqlite_url: str, sqlite: Database) -> None:
    # without the lock, a write of another connection after the read would make this write fail
    other = sqlite3.connect(str(make_url(sqlite_url).database), isolation_level=None, timeout=0)

    def reads(session: Session) -> None:
        session.scalar(select(func.count()).select_from(Job))
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
    assert count_jobs(sqlite) == 1


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
    monkeypatch.setattr("shared.db.sqlite.BUSY_S", 60.0)
    with recorded_statements(impatient_sqlite) as statements, ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(impatient_sqlite.write, _submit)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.2)
        assert statements == []
        writing()
        waiting.result(timeout=10)
    assert count_jobs(impatient_sqlite) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("writing")
def test_a_write_does_not_wait_for_another_thread_beyond_the_busy_timeout(
    impatient_sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.db.sqlite.BUSY_S", 0.1)
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
    assert count_jobs(impatient_sqlite) == 1


@pytest.mark.usefixtures("exclusive_lock")
def test_a_read_does_not_wait_for_another_programs_lock(impatient_sqlite: Database) -> None:
    assert count_jobs(impatient_sqlite) == 0
    assert not impatient_sqlite.missing_step()


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
        assert count_jobs(sqlite) == 1
        sqlite.write(_submit)
    assert [sql for sql, _ in statements if sql.startswith("PRAGMA")] == []


def test_the_folder_of_the_sqlite_file_is_created(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path}/new/folder/trainshed.db")
    assert (tmp_path / "new" / "folder" / "trainshed.db").is_file()
