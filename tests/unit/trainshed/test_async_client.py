"""The asynchronous client: its operations are those of `Client`, which the other tests cover."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from shared.db.engine import Database
from shared.lifecycle import JobState
from tests.support import queue_driver
from tests.support.fake_api import FakeApi, make_event, make_job, make_problem, make_states
from trainshed import AsyncClient, Job, TrainshedApiError


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def run(api: FakeApi, program: Callable[[AsyncClient], Awaitable[None]]) -> None:
    """Run a program with a client of the API."""

    async def main() -> None:
        async with api.connect_async() as server:
            await program(server)

    asyncio.run(main())


def test_a_job_is_submitted_followed_and_listed(api: FakeApi) -> None:
    async def program(server: AsyncClient) -> None:
        job = await server.train(epochs=3)
        api.events[job.id] = [make_event(job.id, seq) for seq in (1, 2)]
        states = [state.state async for state in server.watch(job)]
        assert (states[0], states[-1]) == (JobState.QUEUED, JobState.SUCCEEDED)
        assert [event.seq async for event in server.stream(job)] == [1, 2]
        assert (await server.wait(job)).state is JobState.SUCCEEDED
        assert [listed.id for listed in await server.jobs(limit=1).to_list()] == [job.id]

    run(api, program)


def test_jobs_are_waited_for_at_the_same_time(api: FakeApi) -> None:
    ids = [api.add(*make_states(make_job())) for _ in range(3)]

    async def program(server: AsyncClient) -> None:
        finished = await asyncio.gather(*map(server.wait, ids))
        assert [job.id for job in finished] == ids

    run(api, program)


def test_a_request_is_retried_and_a_refusal_raised(api: FakeApi) -> None:
    api.faults = [httpx.ConnectError("refused"), make_problem(503, "busy"), make_problem(404, "no such job")]

    async def program(server: AsyncClient) -> None:
        with pytest.raises(TrainshedApiError, match="no such job"):
            await server.job(make_job().id)

    run(api, program)
    assert len(api.pauses) == 2


def test_a_client_says_what_it_is_connected_to(api: FakeApi) -> None:
    assert repr(api.connect_async()) == "<trainshed.AsyncClient of http://127.0.0.1:8000>"
    assert repr(api.connect("http://one.test")) == "<trainshed.Client of http://one.test>"


def test_a_list_is_a_data_frame(api: FakeApi) -> None:
    api.add(*make_states(make_job()))

    async def program(server: AsyncClient) -> None:
        jobs = await server.jobs().to_frame()
        assert (len(jobs), jobs.epochs[0]) == (1, 3)

    run(api, program)


def test_jobs_know_their_type_in_notebooks(api: FakeApi) -> None:
    api.add(make_job())

    async def program(server: AsyncClient) -> None:
        assert isinstance(await server.last(), Job)

    run(api, program)


def test_a_real_server_is_followed_and_read(url: str, database: Database) -> None:
    job_id, _ = queue_driver.succeeded(database)

    async def main() -> None:
        async with AsyncClient(url) as server:
            events = [event async for event in server.stream(job_id)]
            assert (events[0].type, events[-1].type) == ("submitted", "succeeded")
            assert (await server.health()).ready
            assert (await server.metrics(job_id)).to_frame().index.name == "epoch"

    asyncio.run(main())
