"""Streams of one job share a read of its events, unless it began before the change that they wait for."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from threading import Event
from typing import Any
from uuid import uuid4

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from api.jobs.event_pages import EventPage, EventPages, FeedPage
from api.jobs.watching import JobWatcher
from shared.db.engine import Database
from shared.errors import JobNotFound
from shared.lifecycle import JobState
from shared.schemas import JobEvent
from shared.settings import Settings
from shared.store.events import Cursor
from tests.support.queue_driver import claim, submit
from tests.support.statements import recorded_statements

LIMIT = 10


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url, patience_s=0)
    yield database
    database.dispose()


@asynccontextmanager
async def _running(database: Database, settings: Settings) -> AsyncIterator[tuple[JobWatcher, EventPages]]:
    watcher = JobWatcher(database, settings)
    pages = EventPages(watcher, database)
    async with watcher.running():
        yield watcher, pages


def _sent(page: EventPage | FeedPage) -> list[ServerSentEvent]:
    """The events of a page, as a client's parser reads them."""
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=page.frames)
    return list(EventSource(response).iter_sse())


def _hold_reads(database: Database) -> tuple[Event, Event]:
    """Have reads stop once they have begun; return what is set then, and what lets them go on."""
    begun, may_go_on = Event(), Event()

    def hold(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT"):  # which takes the snapshot
            begun.set()
            assert may_go_on.wait(10)

    event.listen(database.read_engine, "after_cursor_execute", hold)
    return begun, may_go_on


def test_events_come_as_a_stream_sends_them(database: Database, settings: Settings) -> None:
    job_id = submit(database)
    claim(database, job_id)

    async def work() -> None:
        async with _running(database, settings) as (_, pages):
            page = await pages.after(job_id, 1, LIMIT)
            assert (page.state, page.is_last) == (JobState.RUNNING, True)
            [claimed_event] = _sent(page)
            assert (claimed_event.id, claimed_event.event) == ("2", "claimed")
            assert JobEvent.model_validate_json(claimed_event.data).job_id == job_id
            first = await pages.after(job_id, 0, 1)
            assert ([each.id for each in _sent(first)], first.is_last) == (["1"], False)

    asyncio.run(work())


def test_streams_that_wait_for_the_same_events_share_one_read(database: Database, settings: Settings) -> None:
    job_id = submit(database)

    async def work() -> None:
        async with _running(database, settings) as (_, pages):
            with recorded_statements(database) as one:
                await pages.after(job_id, 0, LIMIT)
            with recorded_statements(database) as fifty:
                read = await asyncio.gather(*(pages.after(job_id, 0, LIMIT) for _ in range(50)))
            assert len(fifty) == len(one)
            assert all(page is read[0] for page in read)

    asyncio.run(work())


def test_a_read_that_began_before_a_change_is_not_shared_after_it(
    database: Database, settings: Settings
) -> None:
    job_id = submit(database)
    writer = Database(str(database.engine.url))

    async def work() -> None:
        async with _running(database, settings) as (watcher, pages):
            begun, may_go_on = _hold_reads(database)
            before = asyncio.create_task(pages.after(job_id, 0, LIMIT))
            await asyncio.to_thread(begun.wait, 10)
            await asyncio.to_thread(claim, writer, job_id)
            begun.clear()
            watcher.announce([job_id])
            after = asyncio.create_task(pages.after(job_id, 0, LIMIT))
            assert await asyncio.to_thread(begun.wait, 10)
            may_go_on.set()
            assert [each.id for each in _sent(await before)] == ["1"]
            assert [each.id for each in _sent(await after)] == ["1", "2"]

    asyncio.run(work())
    writer.dispose()


def test_streams_of_all_jobs_share_one_read(database: Database, settings: Settings) -> None:
    made = [submit(database) for _ in range(2)]

    async def work() -> None:
        async with _running(database, settings) as (_, pages):
            with recorded_statements(database) as one:
                await pages.after_place(Cursor(0), LIMIT)
            with recorded_statements(database) as fifty:
                read = await asyncio.gather(*(pages.after_place(Cursor(0), LIMIT) for _ in range(50)))
            assert len(fifty) == len(one)
            assert all(page is read[0] for page in read)
            first, second = _sent(read[0])
            assert [JobEvent.model_validate_json(each.data).job_id for each in (first, second)] == made
            assert (str(read[0].end), read[0].is_last, read[0].is_pending) == (second.id, True, False)
            page = await pages.after_place(Cursor.parse(first.id), 1)
            assert ([each.id for each in _sent(page)], page.is_last) == ([second.id], False)

    asyncio.run(work())


def test_a_read_of_all_jobs_that_began_before_a_change_is_not_shared_after_it(
    database: Database, settings: Settings
) -> None:
    writer = Database(str(database.engine.url))

    async def work() -> None:
        async with _running(database, settings) as (watcher, pages):
            begun, may_go_on = _hold_reads(database)
            before = asyncio.create_task(pages.after_place(Cursor(0), LIMIT))
            await asyncio.to_thread(begun.wait, 10)
            await asyncio.to_thread(submit, writer)
            begun.clear()
            # as the watcher does that finds a new event, and not of which job
            watcher.announce([])
            after = asyncio.create_task(pages.after_place(Cursor(0), LIMIT))
            may_go_on.set()
            assert _sent(await before) == []
            assert [each.event for each in _sent(await after)] == ["submitted"]

    asyncio.run(work())
    writer.dispose()


def test_a_stream_whose_client_leaves_does_not_end_the_read_of_the_others(
    database: Database, settings: Settings
) -> None:
    job_id = submit(database)

    async def work() -> None:
        async with _running(database, settings) as (_, pages):
            begun, may_go_on = _hold_reads(database)
            leaving, staying = (asyncio.create_task(pages.after(job_id, 0, LIMIT)) for _ in range(2))
            await asyncio.to_thread(begun.wait, 10)
            leaving.cancel()
            may_go_on.set()
            assert [each.id for each in _sent(await staying)] == ["1"]
            assert leaving.cancelled()

    asyncio.run(work())


def test_a_failed_read_fails_for_all_who_share_it_and_is_not_kept(
    database: Database, settings: Settings
) -> None:
    job_id = submit(database)

    def fail(*_: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("the disk is gone"))

    async def work() -> None:
        async with _running(database, settings) as (_, pages):
            event.listen(database.read_engine, "before_cursor_execute", fail)
            reads = (pages.after(job_id, 0, LIMIT) for _ in range(3))
            errors = await asyncio.gather(*reads, return_exceptions=True)
            assert [type(error) for error in errors] == [OperationalError] * 3
            event.remove(database.read_engine, "before_cursor_execute", fail)
            assert len(_sent(await pages.after(job_id, 0, LIMIT))) == 1
            with pytest.raises(JobNotFound):
                await pages.after(uuid4(), 0, LIMIT)

    asyncio.run(work())
