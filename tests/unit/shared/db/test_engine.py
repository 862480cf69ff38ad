"""Transactions are atomic, wait for locks, are retried after transient errors, and end after a time limit."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, Thread
from time import monotonic
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import event, func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, InternalError, OperationalError
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Job
from shared.store.submit import submit_job
from tests.support.databases import open_database
from tests.support.factories import make_new_job
from tests.support.queue_driver import submit
from tests.support.servers import PostgresServer, running_postgres
from tests.support.stored import count_jobs
from tests.support.waiting import wait_until
from trainshed.local.ports import find_free


def _submit(session: Session) -> UUID:
    return submit_job(session, make_new_job())[0]


def test_a_write_is_committed_and_returns_the_result_of_its_function(database: Database) -> None:
    job_id = database.write(_submit)
    assert database.read(lambda session: session.get_one(Job, job_id).id) == job_id


def test_what_was_changed_is_written_before_it_is_read_again(database: Database) -> None:
    job_id = submit(database)

    def rename(session: Session) -> str | None:
        session.get_one(Job, job_id).name = "renamed"
        session.expire_all()
        return session.get_one(Job, job_id).name

    assert database.write(rename) == "renamed"
    assert database.read(lambda session: session.get_one(Job, job_id).name) == "renamed"


def test_a_write_that_raises_is_rolled_back_and_not_retried(database: Database) -> None:
    runs = []

    def fails(session: Session) -> None:
        runs.append(_submit(session))
        raise LookupError("the work's own error")

    with pytest.raises(LookupError):
        database.write(fails)
    assert (len(runs), count_jobs(database)) == (1, 0)


def test_a_permanent_error_is_not_retried(database: Database) -> None:
    new = make_new_job(max_attempts=0)
    with pytest.raises(IntegrityError):
        database.write(lambda session: submit_job(session, new))
    assert count_jobs(database) == 0


def test_a_read_sees_one_snapshot_and_does_not_block_writers(database: Database) -> None:
    submit(database)

    def reads(session: Session) -> list[int | None]:
        before = session.scalar(select(func.count()).select_from(Job))
        submit(database)
        return [before, session.scalar(select(func.count()).select_from(Job))]

    assert database.read(reads) == [1, 1]
    assert count_jobs(database) == 2


def test_a_read_that_writes_is_refused(database: Database) -> None:
    with pytest.raises((OperationalError, InternalError), match=r"readonly|read-only"):
        database.read(_submit)
    assert database.write(_submit) is not None
    assert count_jobs(database) == 1


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
    assert (len(runs), count_jobs(database)) == (2, 1)


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
    assert count_jobs(postgresql) == 1


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
    assert count_jobs(postgresql) == 1


def test_a_transaction_whose_client_stops_within_a_pipeline_is_ended_by_the_server(
    postgresql: Database,
) -> None:
    job_id = submit(postgresql)
    with postgresql.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        assert connection.scalar(text("SHOW transaction_timeout")) == "20s"
        for value in ("0", "200ms"):  # one that runs already is not shortened
            connection.execute(text(f"SET LOCAL transaction_timeout = '{value}'"))
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '100ms'"))

        def stop_amid_a_pipeline() -> None:
            with driver.pipeline():
                driver.execute("UPDATE jobs SET name = 'locked' WHERE id = %s", [job_id])
                driver.pgconn.send_flush_request()
                driver.pgconn.flush()
                wait_until(lambda: not _is_alive(postgresql, pid), "the server has cut the connection")

        with pytest.raises(psycopg.OperationalError):
            stop_amid_a_pipeline()
        connection.invalidate()
    postgresql.write(lambda session: session.execute(update(Job).values(name="free")))


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
        database.read(lambda session: session.scalar(select(func.count()).select_from(Job)))
    assert 0.3 <= monotonic() - started < 3


def test_a_transaction_that_is_retried_is_given_up_when_the_process_stops(tmp_path: Path) -> None:
    unreachable = f"postgresql+psycopg://me@/x?host={tmp_path}"
    with open_database(unreachable, patience_s=60.0) as database, ThreadPoolExecutor(1) as threads:
        tries = Event()
        event.listen(database.engine, "do_connect", lambda *_: tries.set())
        read = threads.submit(database.read, lambda session: session.scalar(text("SELECT 1")))
        assert tries.wait(10)
        database.hurry(0)
        with pytest.raises(DBAPIError):
            read.result(10)


def test_both_transactions_of_a_deadlock_are_committed_in_the_end(
    postgresql: Database,
) -> None:
    ids, both_hold_a_lock = (submit(postgresql), submit(postgresql)), Barrier(2, timeout=10)
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


def test_postgresql_starts_no_parallel_workers_and_prefers_indexes(postgresql: Database) -> None:
    names = ("max_parallel_workers_per_gather", "random_page_cost")
    values = postgresql.read(lambda session: [session.scalar(text(f"SHOW {name}")) for name in names])
    assert values == ["0", "1.1"]


def test_postgresql_ends_the_connection_of_a_client_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = str(find_free("127.0.0.1"))
    monkeypatch.setenv("PGPORT", port)  # of the server, and of who connects by its socket
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    with (
        running_postgres("-c", "listen_addresses=127.0.0.1") as server,
        open_database(server.url(address=f"127.0.0.1:{port}")) as database,
    ):
        values = database.read(lambda session: [session.scalar(text(f"SHOW {name}")) for name in names])
    assert values == ["5", "2", "3", "10000"]


def test_connections_that_set_nothing_have_the_same_settings(postgresql_url: str) -> None:
    # those of PgBouncer in transaction mode, as it renews them
    names = (
        *("idle_in_transaction_session_timeout", "transaction_timeout"),
        *("max_parallel_workers_per_gather", "random_page_cost"),
    )
    with psycopg.connect(postgresql_url.replace("postgresql+psycopg", "postgresql")) as connection:
        values = [connection.execute(f"SHOW {name}").fetchone() for name in names]
    assert values == [("10s",), ("20s",), ("0",), ("1.1",)]


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
