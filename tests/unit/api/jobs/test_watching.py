"""Waiting requests are woken by Redis, and without it by one poll of the database for all of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from itertools import count
from time import monotonic
from uuid import UUID, uuid4

import pytest

from api.jobs.watching import JobWatcher, Watch
from shared.db.engine import Database
from shared.settings import Settings
from shared.store.change_feed import CHANNEL, ChangePublisher
from shared.store.events import newest_position
from tests.support.databases import open_database
from tests.support.queue_driver import cancelled, claim, delete, submit
from tests.support.servers import RedisServer

TIMEOUT_S = 10.0


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url)
    yield database
    database.dispose()


@asynccontextmanager
async def _running(
    database: Database, settings: Settings, own: UUID | None = None
) -> AsyncIterator[JobWatcher]:
    watcher = JobWatcher(database, settings, own)
    async with watcher.running():
        yield watcher


async def _publish(redis: RedisServer, message: str) -> None:
    """Publish a message once there is a subscriber."""

    def publish() -> bool:
        with redis.client() as client:
            return bool(client.publish(CHANNEL, message))

    while not await asyncio.to_thread(publish):
        pass


def test_without_redis_a_change_of_the_job_wakes(database: Database, settings: Settings) -> None:
    job_id = submit(database)

    async def work() -> None:
        async with _running(database, settings) as watcher:
            with watcher.watch(job_id, seen=1) as watch:
                await watcher.run(lambda: claim(database, job_id))
                assert await watch.changed(TIMEOUT_S)

    asyncio.run(work())


def test_without_redis_an_event_of_any_job_wakes(database: Database, settings: Settings) -> None:
    async def work() -> None:
        async with _running(database, settings) as watcher:
            with watcher.watch(None, seen=0) as watch:
                await watcher.run(lambda: submit(database))
                assert await watch.changed(TIMEOUT_S)

    asyncio.run(work())


def test_deletion_of_the_job_wakes(database: Database, settings: Settings) -> None:
    job_id = cancelled(database)

    async def work() -> None:
        async with _running(database, settings) as watcher:
            with watcher.watch(job_id, seen=2) as watch:
                await watcher.run(lambda: delete(database, job_id))
                assert await watch.changed(TIMEOUT_S)

    asyncio.run(work())


def test_request_that_knows_the_newest_version_is_not_woken(database: Database, settings: Settings) -> None:
    first, second = submit(database), submit(database)

    async def work() -> None:
        async with _running(database, settings) as watcher:
            with watcher.watch(first, seen=1) as unchanged, watcher.watch(second, seen=1) as changed:
                await watcher.run(lambda: claim(database, second))
                assert await changed.changed(TIMEOUT_S)
                assert not await unchanged.changed(0)

    asyncio.run(work())


def test_request_that_has_read_nothing_yet_is_not_woken_by_a_poll(
    database: Database, settings: Settings
) -> None:
    first, second = submit(database), submit(database)

    async def work() -> None:
        async with _running(database, settings) as watcher:
            with watcher.watch(first) as reading, watcher.watch(second, seen=1) as changed:
                await watcher.run(lambda: claim(database, second))
                assert await changed.changed(TIMEOUT_S)
                assert not await reading.changed(0)
                reading.seen = 0
                assert await reading.changed(TIMEOUT_S)

    asyncio.run(work())


def test_poll_wakes_once_for_a_version_whatever_the_request_says_it_has_seen(
    database: Database, settings: Settings
) -> None:
    first, second = submit(database), submit(database)

    async def work() -> None:
        async with _running(database, settings) as watcher:
            with watcher.watch(first, seen=99) as ahead, watcher.watch(second, seen=1) as changed:
                assert await ahead.changed(TIMEOUT_S)
                await watcher.run(lambda: claim(database, second))
                assert await changed.changed(TIMEOUT_S)  # by a later poll
                assert not await ahead.changed(0)

    asyncio.run(work())


def test_redis_wakes_the_watches_of_that_job_and_of_all_jobs(
    database: Database, settings: Settings, redis: RedisServer
) -> None:
    first, second = submit(database), submit(database)
    position = database.read(newest_position)
    live = settings.model_copy(update={"redis_url": redis.url})

    async def work() -> None:
        async with _running(database, live) as watcher:
            with (
                watcher.watch(first, seen=1) as watch,
                watcher.watch(second, seen=1) as other,
                watcher.watch(None, seen=position) as all_jobs,
            ):
                await _publish(redis, "malformed")
                await _consume_subscription_wake(watch, other, all_jobs)
                await _publish(redis, f"{uuid4()} {first}")
                assert await watch.changed(TIMEOUT_S)
                assert await all_jobs.changed(TIMEOUT_S)
                assert not await other.changed(0)

    asyncio.run(work())


def test_changes_wake_those_who_wait_for_any_job_together(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.jobs.watching._COLLECT_EACH_S", 0.002)
    jobs = [uuid4() for _ in range(5)]

    async def waited_s(watcher: JobWatcher, watches: int) -> float:
        with ExitStack() as opened:
            waiting = [opened.enter_context(watcher.watch(None)) for _ in range(watches)]
            of_job = opened.enter_context(watcher.watch(jobs[-1]))
            began = monotonic()
            for job_id in jobs:
                watcher.announce([job_id])
            assert await of_job.changed(TIMEOUT_S)  # at once
            assert not any([await watch.changed(0) for watch in waiting])
            assert all([await watch.changed(TIMEOUT_S) for watch in waiting])
            seconds = monotonic() - began
            assert not any([await watch.changed(0) for watch in waiting])
            return seconds

    async def work() -> None:
        async with _running(database, settings) as watcher:
            assert await waited_s(watcher, 1) >= 0.04
            assert await waited_s(watcher, 100) >= 0.19

    asyncio.run(work())


def test_replies_that_are_not_of_redis_do_not_end_the_subscription(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.jobs.watching._RECONNECT_INTERVAL_S", 0.01)

    async def work() -> None:
        connections, third = count(1), asyncio.Event()

        async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if next(connections) == 3:
                third.set()
            while await reader.read(4_096):
                writer.write(b"$abc\r\n")
            writer.close()

        async with await asyncio.start_server(garble, "127.0.0.1", 0) as server:
            url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with _running(database, settings.model_copy(update={"redis_url": url})):
                await asyncio.wait_for(third.wait(), TIMEOUT_S)

    asyncio.run(work())


def test_announcement_by_another_thread_wakes_and_is_passed_on_before_what_follows_it(
    database: Database, settings: Settings
) -> None:
    job_id, heard = UUID(int=1), list[object]()

    async def work() -> None:
        async with _running(database, settings) as watcher:
            watcher.listen(heard.append)
            with (
                watcher.watch(job_id) as watch,
                watcher.watch(None) as all_jobs,
                watcher.watch(UUID(int=2)) as other,
            ):
                await asyncio.to_thread(watcher.announce, [job_id])
                assert heard == [[job_id]]
                assert await watch.changed(TIMEOUT_S)
                assert await all_jobs.changed(TIMEOUT_S)
                assert not await other.changed(0)

    asyncio.run(work())


def test_a_change_by_this_process_is_announced_once_here_and_once_in_another(
    sqlite_url: str, settings: Settings, redis: RedisServer
) -> None:
    heard, heard_elsewhere, later = list[object](), list[object](), uuid4()
    live = settings.model_copy(update={"redis_url": redis.url})

    async def work(publisher: ChangePublisher, database: Database) -> UUID:
        async with _running(database, live, publisher.id) as here, _running(database, live) as elsewhere:
            publisher.listen(here.announce)
            here.listen(heard.append)
            elsewhere.listen(heard_elsewhere.append)
            with here.watch(later) as watch, elsewhere.watch(None) as noticed:
                assert await watch.changed(TIMEOUT_S)  # both are subscribed
                assert await noticed.changed(TIMEOUT_S)
                job_id = await here.run(lambda: submit(database))
                assert await noticed.changed(TIMEOUT_S)
                await _publish(redis, f"{uuid4()} {later}")
                assert await watch.changed(TIMEOUT_S)  # its own message came before
                assert await noticed.changed(TIMEOUT_S)
            return job_id

    with (
        closing(ChangePublisher(live)) as publisher,
        open_database(sqlite_url, committed=publisher) as database,
    ):
        job_id = asyncio.run(work(publisher, database))
    assert heard == heard_elsewhere == [{job_id}, {later}]


def test_announcement_after_the_end_of_the_event_loop_is_ignored(
    database: Database, settings: Settings
) -> None:
    watcher = JobWatcher(database, settings)

    async def work() -> None:
        async with watcher.running():
            pass

    asyncio.run(work())
    watcher.announce([UUID(int=1)])


def test_watch_that_has_ended_is_removed(database: Database, settings: Settings) -> None:
    async def work() -> None:
        watcher = JobWatcher(database, settings)
        with watcher.watch(UUID(int=1)), watcher.watch(UUID(int=1)):
            pass
        with watcher.watch(UUID(int=1)) as watch:
            assert not await watch.changed(0)

    asyncio.run(work())


async def _consume_subscription_wake(*watches: Watch) -> None:
    for watch in watches:
        await watch.changed(0.5)


def test_nothing_waits_once_the_process_is_to_stop(database: Database, settings: Settings) -> None:
    job_id = submit(database)

    async def run() -> list[bool]:
        async with _running(database, settings) as watcher:
            with watcher.watch(job_id) as one, watcher.watch(None) as all_jobs:
                watcher.stop()
                woken = [await watch.changed(TIMEOUT_S) for watch in (one, all_jobs)]
            return [*woken, watcher.is_stopping]

    assert asyncio.run(run()) == [True, True, True]
