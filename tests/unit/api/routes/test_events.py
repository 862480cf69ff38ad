"""Idle event streams do not read events; tests/integration/test_live.py has all else about streams."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi.sse import ServerSentEvent

from api.http.callers import Callers
from api.http.open_streams import Admission, OpenStreams
from api.jobs.event_pages import EventPages
from api.jobs.watching import JobWatcher
from api.routes.events import stream_all, stream_job
from shared.db.engine import Database
from shared.settings import Settings
from shared.store.events import Cursor, Tail, newest_position
from tests.support.factories import submitted
from tests.support.statements import recorded_statements
from tests.support.waiting import wait_until

POLLS = 5
REQUEST: dict[str, Any] = {"type": "http", "method": "GET", "client": None, "headers": []}


def _admission(database: Database, settings: Settings) -> Admission:
    return Admission(OpenStreams(Callers(database, settings)), REQUEST)


def _reads_while_idle(
    database: Database,
    settings: Settings,
    open_stream: Callable[[JobWatcher], AsyncIterator[ServerSentEvent]],
    *,
    poll: str,
) -> int:
    """Count the reads of events of a stream that has nothing to send, during several polls of its watcher.

    Args:
        poll: the beginning of the watcher's query.
    """

    async def count() -> int:
        watcher = JobWatcher(database, settings)  # without Redis, so that it polls often
        async with watcher.running():
            with recorded_statements(database) as statements:

                def executed(start: str) -> int:
                    return sum(statement.sql.startswith(start) for statement in statements)

                stream = open_stream(watcher)
                await anext(stream)  # the reconnection time
                event = asyncio.ensure_future(anext(stream))
                await asyncio.to_thread(wait_until, lambda: executed(poll) >= POLLS, "the watcher polls")
                event.cancel()
                await asyncio.wait([event])
                return executed("SELECT job_events.job_id")

    return asyncio.run(count())


@pytest.mark.slow
def test_job_stream_resumed_at_the_newest_event_reads_once(database: Database, settings: Settings) -> None:
    job_id = submitted(database)

    reads = _reads_while_idle(
        database,
        settings,
        lambda watcher: stream_job(watcher, EventPages(watcher), _admission(database, settings), job_id, 1),
        poll="SELECT jobs.id, jobs.version",
    )

    assert reads == 1


@pytest.mark.slow
def test_stream_of_all_jobs_resumed_at_the_newest_event_reads_once(
    database: Database, settings: Settings
) -> None:
    submitted(database)
    tail = Tail(database, Cursor(database.read(newest_position)))

    reads = _reads_while_idle(
        database,
        settings,
        lambda watcher: stream_all(watcher, _admission(database, settings), tail),
        poll="SELECT max(job_events.position)",
    )

    assert reads == 1
