"""Waiters are woken by what Redis tells, and without it by one look at the table for all of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from api.jobs.watching import JobWatcher, Watch
from shared.db.engine import Database
from shared.db.tables import Job
from shared.settings import Settings
from shared.store.change_feed import CHANNEL
from shared.store.events import newest_position
from tests.support.factories import claimed, submitted
from tests.support.servers import RedisServer

IN_TIME_S = 10.0


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url)
    yield database
    database.dispose()


@asynccontextmanager
async def _listening(database: Database, settings: Settings) -> AsyncIterator[JobWatcher]:
    changes = JobWatcher(database, settings)
    async with changes.listening():
        yield changes


async def _told(redis: RedisServer, message: str) -> None:
    """Publish, once somebody listens."""

    def publish() -> bool:
        with redis.client() as client:
            return bool(client.publish(CHANNEL, message))

    while not await asyncio.to_thread(publish):
        pass


def test_without_redis_a_change_is_seen_in_the_table(database: Database, settings: Settings) -> None:
    job_id = submitted(database)

    async def work() -> None:
        async with _listening(database, settings) as changes:
            with changes.watch(job_id) as watch:
                watch.seen = 1
                await changes.call(lambda: claimed(database, job_id))
                assert await watch.changed(IN_TIME_S)

    asyncio.run(work())


def test_without_redis_any_jobs_event_is_seen_in_the_table(database: Database, settings: Settings) -> None:
    async def work() -> None:
        async with _listening(database, settings) as changes:
            with changes.watch(None) as watch:
                watch.seen = 0
                await changes.call(lambda: submitted(database))
                assert await watch.changed(IN_TIME_S)

    asyncio.run(work())


def test_a_job_that_is_deleted_wakes_who_waits_for_it(database: Database, settings: Settings) -> None:
    job_id = submitted(database)

    def remove(session: Session) -> None:
        session.execute(delete(Job).where(Job.id == job_id))

    async def work() -> None:
        async with _listening(database, settings) as changes:
            with changes.watch(job_id) as watch:
                watch.seen = 1
                await changes.call(lambda: database.write(remove))
                assert await watch.changed(IN_TIME_S)

    asyncio.run(work())


def test_who_is_up_to_date_is_not_woken(database: Database, settings: Settings) -> None:
    first, second = submitted(database), submitted(database)

    async def work() -> None:
        async with _listening(database, settings) as changes:
            with changes.watch(first) as still, changes.watch(second) as moved:
                still.seen = moved.seen = 1
                await changes.call(lambda: claimed(database, second))
                assert await moved.changed(IN_TIME_S)
                assert not await still.changed(0)

    asyncio.run(work())


def test_redis_wakes_who_waits_for_that_job_or_for_any(
    database: Database, settings: Settings, redis: RedisServer
) -> None:
    first, second = submitted(database), submitted(database)
    position = database.read(newest_position)
    live = settings.model_copy(update={"redis_url": redis.url})

    async def work() -> None:
        async with _listening(database, live) as changes:
            with changes.watch(first) as one, changes.watch(second) as other, changes.watch(None) as any_:
                one.seen = other.seen = 1
                any_.seen = position
                await _told(redis, "not ours")
                await _settle(one, other, any_)
                await _told(redis, str(first))
                assert await one.changed(IN_TIME_S)
                assert await any_.changed(IN_TIME_S)
                assert not await other.changed(0)

    asyncio.run(work())


def test_a_waiter_that_has_left_is_forgotten(database: Database, settings: Settings) -> None:
    async def work() -> None:
        changes = JobWatcher(database, settings)
        with changes.watch(UUID(int=1)), changes.watch(UUID(int=1)):
            pass
        with changes.watch(UUID(int=1)) as watch:
            assert not await watch.changed(0)

    asyncio.run(work())


async def _settle(*watches: Watch) -> None:
    """Have the wake-up of a new subscription done with."""
    for watch in watches:
        await watch.changed(0.5)
