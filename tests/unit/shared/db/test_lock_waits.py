"""Whoever holds a lock that a statement waits for is named while it waits, and the wait can be ended."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from shared.db.engine import Database
from shared.db.lock_waits import LockWatch
from tests.support.waiting import wait_until

LOCK = text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
PID = text("SELECT pg_backend_pid()")


def _wait_for_lock(waiter: Connection, watch: LockWatch) -> None:
    watch.pid = waiter.scalar(PID)
    waiter.execute(LOCK)


def test_the_holder_is_named_for_as_long_as_it_is_waited_for(postgresql: Database) -> None:
    reports: list[str] = []
    with (
        ThreadPoolExecutor(1) as thread,
        postgresql.engine.connect() as waiter,
        postgresql.engine.connect() as holder,
        LockWatch(postgresql.engine, "the test", reports.append) as watch,
    ):
        pid = holder.scalar(PID)
        holder.execute(text("SELECT count(*) FROM jobs"))
        waits = thread.submit(_wait_for_lock, waiter, watch)
        wait_until(lambda: reports, "the holder is named")
        holder.rollback()
        waits.result(10)
        waiter.rollback()
    assert reports[0].startswith(f"the test waits for a lock of pid {pid} (trainshed, transaction open for ")
    assert watch.blockers.startswith(f"pid {pid} ")


def test_a_wait_that_is_too_long_is_cancelled(postgresql: Database) -> None:
    with (
        postgresql.engine.connect() as waiter,
        postgresql.engine.connect() as holder,
        LockWatch(postgresql.engine, "the test", lambda _: None) as watch,
    ):
        holder.execute(text("SELECT count(*) FROM jobs"))
        watch.cancel_after(0.1)
        with pytest.raises(OperationalError, match="user request"):
            _wait_for_lock(waiter, watch)


def test_a_statement_that_waits_for_nobody_is_left_alone(postgresql: Database) -> None:
    with (
        postgresql.engine.connect() as connection,
        LockWatch(postgresql.engine, "the test", lambda _: pytest.fail("nobody is waited for")) as watch,
    ):
        watch.cancel_after(0.1)
        watch.pid = connection.scalar(PID)
        connection.execute(text("SELECT pg_sleep(1.2)"))
    assert watch.blockers == ""
