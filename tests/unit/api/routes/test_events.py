"""Idle event streams do not read events; tests/integration/test_live.py has all else about streams."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from api.http.callers import Callers
from api.http.event_stream import EventStream
from api.http.open_streams import Admission, OpenStreams
from api.jobs.event_pages import EventPages
from api.jobs.watching import JobWatcher
from api.routes.events import stream_all, stream_job
from shared.db.engine import Database
from shared.settings import Settings
from shared.store.events import Cursor
from tests.support.queue_driver import submit
from tests.support.statements import recorded_statements
from tests.support.waiting import wait_until

POLLS = 5
REQUEST: dict[str, Any] = {"type": "http", "method": "GET", "client": None, "headers": []}


def _admission(database: Database, settings: Settings) -> Admission:
    return Admission(OpenStreams(Callers(database, settings)), REQUEST)


async def _read(stream: Awaitable[EventStream]) -> None:
    async for _ in (await stream).frames:
        pass


def _reads_while_idle(
    database: Database,
    settings: Settings,
    open_stream: Callable[[JobWatcher], Awaitable[EventStream]],
    *,
    poll: str,
) -> int:
    """Count the reads of events of a stream that soon has nothing to send, during polls of its watcher.

    Args:
        poll: the beginning of the watcher's query.
    """

    async def count() -> int:
        watcher = JobWatcher(database, settings)  # without Redis, so that it polls often
        async with watcher.running():
            with recorded_statements(database) as statements:

                def executed(start: str) -> int:
                    return sum(statement.sql.startswith(start) for statement in statements)

                reading = asyncio.ensure_future(_read(open_stream(watcher)))
                await asyncio.to_thread(wait_until, lambda: executed(poll) >= POLLS, "the watcher polls")
                assert not reading.done()
                reading.cancel()
                await asyncio.wait([reading])
                return executed("SELECT job_events.job_id")

    return asyncio.run(count())


@pytest.mark.slow
def test_job_stream_resumed_at_the_newest_event_reads_once(database: Database, settings: Settings) -> None:
    job_id = submit(database)

    reads = _reads_while_idle(
        database,
        settings,
        lambda watcher: stream_job(
            watcher, EventPages(watcher, database), _admission(database, settings), job_id, 1
        ),
        poll="SELECT jobs.id, jobs.version",
    )

    assert reads == 1


@pytest.mark.slow
def test_stream_of_all_jobs_reads_its_events_once(database: Database, settings: Settings) -> None:
    submit(database)

    reads = _reads_while_idle(
        database,
        settings,
        lambda watcher: stream_all(
            watcher, EventPages(watcher, database), _admission(database, settings), Cursor(0)
        ),
        poll="SELECT max(job_events.position)",
    )

    assert reads == 1
