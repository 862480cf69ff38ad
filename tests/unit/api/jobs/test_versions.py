"""Requests that ask for versions of jobs at the same time share a query, which begins after they asked."""

import asyncio
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest

from api.jobs.versions import JobVersions
from api.jobs.watching import JobWatcher
from shared.db.engine import Database
from shared.settings import Settings
from shared.store.job_queries import Mark
from tests.support.databases import open_database
from tests.support.queue_driver import claim, submit
from tests.support.statements import recorded_statements

UNKNOWN = UUID(int=1)


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    with open_database(sqlite_url) as database:
        yield database


@pytest.fixture
def ask(database: Database, settings: Settings) -> Callable[..., list[Mark]]:
    """Asks for the newest versions of jobs at the same time."""

    def ask(*job_ids: UUID) -> list[Mark]:
        async def work() -> list[Mark]:
            versions = JobVersions(JobWatcher(database, settings))
            return await asyncio.gather(*map(versions.newest, job_ids))

        return asyncio.run(work())

    return ask


def test_versions_of_jobs_are_read(database: Database, ask: Callable[..., list[Mark]]) -> None:
    first, second = submit(database), submit(database)
    claim(database, second)

    assert [version for version, _ in ask(first, second, UNKNOWN)] == [1, 2, None]


def test_requests_at_the_same_time_share_a_query(database: Database, ask: Callable[..., list[Mark]]) -> None:
    job_ids = [submit(database) for _ in range(3)]
    with recorded_statements(database) as statements:
        ask(*job_ids, *job_ids)

    assert len([statement for statement in statements if statement.sql.startswith("SELECT")]) == 1


def test_those_who_ask_while_a_query_runs_share_the_next(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, watcher, queries = submit(database), JobWatcher(database, settings), list[object]()
    read = watcher.read

    async def work() -> list[Mark]:
        started, release = asyncio.Event(), asyncio.Event()

        async def read_slowly(query: Callable[..., dict[UUID, Mark]]) -> dict[UUID, Mark]:
            queries.append(query)
            found = await read(query)
            started.set()
            await release.wait()
            return found

        monkeypatch.setattr(watcher, "read", read_slowly)
        versions = JobVersions(watcher)
        asked = [asyncio.create_task(versions.newest(job_id))]
        await started.wait()
        claim(database, job_id)
        for _ in range(2):
            asked.append(asyncio.create_task(versions.newest(job_id)))
            assert not (await asyncio.wait(asked, timeout=0.05))[0]
        release.set()
        return [await version for version in asked]

    assert [version for version, _ in asyncio.run(work())] == [1, 2, 2]
    assert len(queries) == 2


def test_cancelled_request_does_not_cancel_the_query_of_another(
    database: Database, settings: Settings
) -> None:
    job_id = submit(database)

    async def work() -> Mark:
        versions = JobVersions(JobWatcher(database, settings))
        cancelled, other = (asyncio.create_task(versions.newest(job_id)) for _ in range(2))
        asyncio.get_running_loop().call_soon(cancelled.cancel)
        return await other

    assert asyncio.run(work())[0] == 1
