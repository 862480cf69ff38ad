"""Transactions: they are whole, they wait, they are tried again, and they give up in time."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Thread, Timer
from time import monotonic
from uuid import UUID

import pytest
from sqlalchemy import Connection, event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InternalError, OperationalError
from sqlalchemy.orm import Session

from shared.db.engine import Database, insert_or_ignore, is_transient, upsert
from shared.db.tables import Checkpoint, Job
from shared.store.submit import submit_job
from tests.support.factories import make_new_job, submitted
from tests.support.servers import PostgresServer
from tests.support.waiting import wait_until

_COUNT = select(func.count()).select_from(Job)


def _count(database: Database) -> int:
    return database.read(lambda session: session.scalar(_COUNT)) or 0


def _submit(session: Session) -> UUID:
    return submit_job(session, make_new_job())[0]


@pytest.fixture
def impatient_sqlite(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url, patience_s=0.2)
    yield database
    database.dispose()


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Database]:
    database = Database(postgresql_url)
    yield database
    database.dispose()


@pytest.fixture
def exclusive_lock(sqlite_url: str) -> Iterator[Callable[[], None]]:
    """Another program has locked the SQLite file; calling the fixture lets it go."""
    other = sqlite3.connect(str(make_url(sqlite_url).database), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    yield other.rollback
    other.close()


def test_a_write_is_committed_and_returns_what_the_work_returns(database: Database) -> None:
    job_id = database.write(_submit)
    assert database.read(lambda session: session.get_one(Job, job_id).id) == job_id


def test_work_that_fails_leaves_nothing_and_is_not_run_again(database: Database) -> None:
    runs = []

    def fails(session: Session) -> None:
        runs.append(_submit(session))
        raise LookupError("the work's own error")

    with pytest.raises(LookupError):
        database.write(fails)
    assert (len(runs), _count(database)) == (1, 0)


def test_an_error_that_would_come_again_is_raised_at_once(database: Database) -> None:
    new = make_new_job(max_attempts=0)
    with pytest.raises(IntegrityError):
        database.write(lambda session: submit_job(session, new))
    assert _count(database) == 0


def test_a_read_sees_one_state_and_does_not_hold_up_a_writer(database: Database) -> None:
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
    assert database.write(_submit) is not None  # on the same connection, which may write again
    assert _count(database) == 1


def test_a_commit_whose_answer_was_lost_is_run_again(database: Database) -> None:
    new, runs = make_new_job(), []

    def work(session: Session) -> UUID:
        runs.append(session)
        if len(runs) == 1:
            event.listen(session, "after_commit", lose_the_answer)
        return submit_job(session, new)[0]

    def lose_the_answer(_session: Session) -> None:
        raise OperationalError("COMMIT", {}, Exception(), connection_invalidated=True)

    assert database.write(work) == new.id
    assert (len(runs), _count(database)) == (2, 1)


@pytest.mark.parametrize("wrote_before", [False, True])
def test_a_connection_cut_in_a_transaction_is_opened_anew(
    postgresql: Database, postgres_server: PostgresServer, wrote_before: bool
) -> None:
    # pg_terminate_backend is what a failover, a restart and an impatient administrator look like
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


def test_a_process_that_stood_still_in_a_transaction_loses_its_locks_and_begins_again(
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


def test_a_connection_cut_between_transactions_goes_unnoticed(
    postgresql: Database, postgres_server: PostgresServer
) -> None:
    pid = postgresql.read(lambda session: session.scalar(text("SELECT pg_backend_pid()")))
    _terminate(postgres_server, pid)
    runs = []
    postgresql.write(lambda session: runs.append(_submit(session)))
    assert len(runs) == 1


def _terminate(server: PostgresServer, pid: object) -> None:
    server.execute(f"SELECT pg_terminate_backend({pid}, 5000)")  # waits until it has ended


def test_patience_with_a_database_that_keeps_cutting_connections_ends(postgresql_url: str) -> None:
    database = Database(postgresql_url, patience_s=0.3)
    runs = []

    def work(session: Session) -> None:
        runs.append(session)
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    started = monotonic()
    with pytest.raises(DBAPIError):
        database.write(work)
    database.dispose()
    assert len(runs) > 1
    assert 0.3 <= monotonic() - started < 3


def test_patience_with_a_server_that_is_away_ends(tmp_path: Path) -> None:
    database = Database(f"postgresql+psycopg://postgres@/postgres?host={tmp_path}", patience_s=0.3)
    started = monotonic()
    with pytest.raises(OperationalError):
        database.read(lambda session: session.scalar(_COUNT))
    assert 0.3 <= monotonic() - started < 3


def test_of_two_transactions_that_wait_for_each_other_both_are_done_in_the_end(
    postgresql: Database,
) -> None:
    ids, both_hold_one = (submitted(postgresql), submitted(postgresql)), Barrier(2, timeout=10)
    runs = []

    def work(session: Session, first: UUID, second: UUID) -> None:
        session.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
        runs.append(first)
        session.get_one(Job, first, with_for_update=True).failures += 1
        session.flush()
        if runs.count(first) == 1:
            both_hold_one.wait()
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


def test_a_write_has_the_write_lock_before_it_reads(sqlite_url: str) -> None:
    # or another's write in between would make its own impossible
    database = Database(sqlite_url)
    other = sqlite3.connect(str(make_url(sqlite_url).database), isolation_level=None, timeout=0)

    def reads(session: Session) -> None:
        session.scalar(_COUNT)
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            other.execute("BEGIN IMMEDIATE")

    database.write(reads)
    other.close()
    database.dispose()


def test_a_write_waits_for_another_programs_lock(sqlite_url: str, exclusive_lock: Callable[[], None]) -> None:
    database = Database(sqlite_url)
    lets_go = Timer(0.2, exclusive_lock)
    lets_go.start()
    database.write(_submit)
    lets_go.join()
    assert _count(database) == 1
    database.dispose()


def test_a_write_gives_up_when_another_programs_lock_outlasts_its_patience(
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


def test_sqlite_is_configured_on_every_connection(sqlite_url: str) -> None:
    database = Database(sqlite_url, patience_s=0)
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")

    def configured(connection: Connection) -> list[object]:
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]

    with (
        database.engine.connect() as first,
        database.engine.execution_options(read_only=True).connect() as other,
    ):
        # synchronous 2 is FULL
        assert configured(other) == configured(first) == ["wal", 2, 1, 1_000]
    database.dispose()


def test_sqlites_folder_is_made(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/new/folder/trainshed.db")
    database.migrate()
    database.dispose()
    assert (tmp_path / "new" / "folder" / "trainshed.db").is_file()


def test_only_the_databases_own_troubles_are_transient(database: Database) -> None:
    assert not is_transient(LookupError())
    with pytest.raises(DBAPIError) as wrong:
        database.write(lambda session: session.execute(text("SELECT * FROM no_such_table")))
    assert not is_transient(wrong.value)


def test_a_full_disk_may_have_room_again(sqlite_url: str) -> None:
    database = Database(sqlite_url, patience_s=0)

    def fill(session: Session) -> None:
        session.execute(text("PRAGMA max_page_count = 1"))  # none beyond those there are
        session.execute(text("CREATE TABLE filling AS SELECT zeroblob(1000000) AS room"))

    with pytest.raises(DBAPIError, match="full") as full:
        database.write(fill)
    database.dispose()
    assert is_transient(full.value)


def test_a_row_is_inserted_once(database: Database) -> None:
    job_id = submitted(database)
    row = {"job_id": job_id, "next_epoch": 1, "state": b"first", "sha256": "x"}
    insert = [
        database.write(lambda session: insert_or_ignore(session, Checkpoint, row)),
        database.write(lambda session: insert_or_ignore(session, Checkpoint, {**row, "state": b"second"})),
    ]
    assert insert == [True, False]
    assert database.read(lambda session: session.get_one(Checkpoint, job_id).state) == b"first"


def test_a_row_is_replaced(database: Database) -> None:
    job_id = submitted(database)
    row = {"job_id": job_id, "next_epoch": 1, "state": b"first", "sha256": "x"}
    database.write(lambda session: upsert(session, Checkpoint, row))
    database.write(lambda session: upsert(session, Checkpoint, {**row, "next_epoch": 2, "state": b"second"}))
    stored = database.read(lambda session: session.get_one(Checkpoint, job_id))
    assert (stored.next_epoch, stored.state) == (2, b"second")


def test_postgresql_starts_no_processes_for_a_statement_and_reads_from_indexes(postgresql: Database) -> None:
    names = ("max_parallel_workers_per_gather", "random_page_cost")
    found = postgresql.read(lambda session: [session.scalar(text(f"SHOW {name}")) for name in names])
    assert found == ["0", "1.1"]
