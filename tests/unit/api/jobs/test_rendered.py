"""Responses about jobs are kept while the jobs do not change, within a bound of memory."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import SQLAlchemyError

from api.jobs import rendered as module
from api.jobs.rendered import Rendered, RenderedResponses, Source
from api.jobs.watching import JobWatcher
from shared.db.engine import Database
from shared.settings import Settings
from tests.support.databases import open_database
from tests.support.fakes import MonotonicClock
from tests.support.queue_driver import claim, submit

TARGET = b"/v1/jobs/1"
CHECK_S = 0.25  # without Redis

Work = Callable[[RenderedResponses, UUID], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> MonotonicClock:
    clock = MonotonicClock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    with open_database(sqlite_url) as database:
        yield database


@pytest.fixture
def run(database: Database, settings: Settings) -> Callable[[Work], None]:
    """Runs a coroutine function with a cache of responses, whose watcher does not run, and a queued job."""

    def run(work: Work, **options: Any) -> None:
        async def start() -> None:
            await work(RenderedResponses(JobWatcher(database, settings), **options), submit(database))

        asyncio.run(start())

    return run


def make_rendered(job_id: UUID, *, version: int = 1, is_lasting: bool = True, size: int = 10) -> Rendered:
    return Rendered(Source(job_id, version, is_lasting), ((b"etag", b'"1"'),), b"x" * size, route=None)


def keep(responses: RenderedResponses, rendered: Rendered, target: bytes = TARGET) -> Rendered:
    with responses.rendering(target, rendered.source.job_id) as keep:
        keep(rendered)
    return rendered


def test_a_kept_response_is_fresh_until_it_has_to_be_checked(run: Any, clock: MonotonicClock) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        kept = keep(responses, make_rendered(job_id))
        clock.advance(0.99 * CHECK_S)
        assert responses.fresh(TARGET) is kept
        clock.advance(0.02 * CHECK_S)
        assert responses.fresh(TARGET) is None

    run(work)


def test_the_time_of_a_slow_rendering_counts(run: Any, clock: MonotonicClock) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        with responses.rendering(TARGET, job_id) as keep:
            clock.advance(CHECK_S)
            keep(make_rendered(job_id))
        assert responses.fresh(TARGET) is None

    run(work)


def test_after_a_check_an_unchanged_response_is_fresh_again(run: Any, clock: MonotonicClock) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        kept = keep(responses, make_rendered(job_id))
        clock.advance(2 * CHECK_S)
        assert await responses.checked(TARGET) is kept
        assert responses.fresh(TARGET) is kept

    run(work)


def test_a_check_finds_that_the_job_has_changed(run: Any, clock: MonotonicClock, database: Database) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        keep(responses, make_rendered(job_id))
        await asyncio.to_thread(claim, database, job_id)
        clock.advance(2 * CHECK_S)
        assert await responses.checked(TARGET) is None

    run(work)


def test_a_check_finds_that_there_is_no_such_job(run: Any, clock: MonotonicClock) -> None:
    async def work(responses: RenderedResponses, _job_id: UUID) -> None:
        keep(responses, make_rendered(UUID(int=1)))
        clock.advance(2 * CHECK_S)
        assert await responses.checked(TARGET) is None

    run(work)


def test_a_check_fails_while_the_database_is_unavailable(
    run: Any, clock: MonotonicClock, database: Database
) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        keep(responses, make_rendered(job_id))
        clock.advance(2 * CHECK_S)
        with database.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE jobs RENAME TO gone")
        with pytest.raises(SQLAlchemyError):
            await responses.checked(TARGET)

    run(work)


def test_what_changes_without_a_new_version_is_rendered_again(run: Any, clock: MonotonicClock) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        keep(responses, make_rendered(job_id, is_lasting=False))
        clock.advance(2 * CHECK_S)
        assert await responses.checked(TARGET) is None

    run(work)


def test_no_response_is_kept_for_more_than_a_minute(run: Any, clock: MonotonicClock) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        keep(responses, make_rendered(job_id))
        clock.advance(59)
        assert await responses.checked(TARGET)
        clock.advance(2)
        assert await responses.checked(TARGET) is None

    run(work)


def test_announced_jobs_are_forgotten_with_all_their_responses(run: Any) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        other = keep(responses, make_rendered(UUID(int=1)), b"other")
        for target in (TARGET, b"metrics"):
            keep(responses, make_rendered(job_id), target)
        responses.forget([job_id, UUID(int=2)])
        assert responses.fresh(TARGET) is responses.fresh(b"metrics") is None
        assert responses.fresh(b"other") is other

    run(work)


def test_a_response_rendered_while_its_job_is_announced_is_not_kept(run: Any) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        with (
            responses.rendering(TARGET, job_id) as keep,
            responses.rendering(b"other", UUID(int=1)) as keep_other,
        ):
            responses.forget([job_id])
            keep(make_rendered(job_id))
            keep_other(make_rendered(UUID(int=1)))
        assert responses.fresh(TARGET) is None
        assert responses.fresh(b"other")

    run(work)


def test_what_the_watcher_announces_is_forgotten(database: Database, settings: Settings) -> None:
    async def work() -> None:
        watcher, job_id = JobWatcher(database, settings), submit(database)
        responses = RenderedResponses(watcher)
        async with watcher.running():
            keep(responses, make_rendered(job_id))
            with watcher.watch(job_id, seen=1) as watch:
                await asyncio.to_thread(watcher.announce, [job_id])
                assert await watch.changed(10)
        assert responses.fresh(TARGET) is None

    asyncio.run(work())


def test_a_change_of_a_queue_forgets_the_responses_about_queued_jobs(run: Any) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        keep(responses, make_rendered(job_id, is_lasting=False))
        finished = keep(responses, make_rendered(job_id), b"finished")
        with responses.rendering(b"read before", job_id) as keep_later:
            responses.forget_queued()
            keep_later(make_rendered(job_id, is_lasting=False))
        assert responses.fresh(TARGET) is responses.fresh(b"read before") is None
        assert responses.fresh(b"finished") is finished

    run(work)


def test_the_least_recently_used_responses_give_way(run: Any) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        for number in range(20):
            keep(responses, make_rendered(job_id, size=4_000), b"%d" % number)
            assert responses.fresh(b"0")
        kept = [number for number in range(20) if responses.fresh(b"%d" % number)]
        assert kept == [0, *range(5, 20)]  # sixteen of 5,000 bytes

    run(work, max_bytes=16 * 5_000)


def test_memory_is_free_again_when_responses_are_replaced_or_forgotten(run: Any) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        for _ in range(100):
            keep(responses, make_rendered(job_id, size=4_000))
            keep(responses, make_rendered(UUID(int=1), size=4_000), b"other")
            responses.forget([UUID(int=1)])
        assert responses.fresh(TARGET)
        assert (responses._bytes, len(responses._targets), len(responses._renderings_of)) == (5_000, 1, 0)

    run(work, max_bytes=16 * 5_000)


def test_responses_that_are_no_longer_asked_for_give_way_when_they_have_expired(
    run: Any, clock: MonotonicClock
) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        for number in range(100):
            keep(responses, make_rendered(UUID(int=number), size=4_000), b"%d" % number)
            clock.advance(1.0)
        keep(responses, make_rendered(job_id, size=4_000))
        assert responses._bytes == 60 * 5_000
        assert len(responses._targets) == len(responses._kept) == 60

    run(work)


def test_a_response_that_would_displace_many_is_not_kept(run: Any) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        keep(responses, make_rendered(job_id, size=5_000))
        assert responses.fresh(TARGET) is None

    run(work, max_bytes=16 * 5_000)


def test_requests_wait_for_the_one_that_renders(run: Any) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        with responses.rendering(TARGET, job_id) as keep:
            waiting = [asyncio.create_task(responses.checked(TARGET)) for _ in range(5)]
            assert not (await asyncio.wait(waiting, timeout=0.05))[0]
            kept = make_rendered(job_id)
            keep(kept)
        assert await asyncio.gather(*waiting) == [kept] * 5

    run(work)


def test_requests_render_themselves_if_the_one_they_waited_for_kept_nothing(run: Any) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        with responses.rendering(TARGET, job_id):
            waiting = asyncio.create_task(responses.checked(TARGET))
            assert not (await asyncio.wait([waiting], timeout=0.05))[0]
        assert await waiting is None

    run(work)


def test_requests_wait_again_if_what_they_waited_for_is_outdated(run: Any) -> None:
    async def work(responses: RenderedResponses, job_id: UUID) -> None:
        with responses.rendering(TARGET, job_id) as keep:
            waiting = [asyncio.create_task(responses.checked(TARGET)) for _ in range(3)]
            assert not (await asyncio.wait(waiting, timeout=0.05))[0]
            keep(make_rendered(job_id, version=7, is_lasting=False))
            responses.forget([job_id])
        with responses.rendering(
            TARGET, job_id
        ) as keep:  # by the first of them, before the others look again
            kept = make_rendered(job_id)
            assert not (await asyncio.wait(waiting, timeout=0.05))[0]
            keep(kept)
        assert await asyncio.gather(*waiting) == [kept] * 3

    run(work)
