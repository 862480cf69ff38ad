"""Lists are fetched as they are needed, in both clients."""

import asyncio
from concurrent.futures import Future
from contextlib import closing

import pytest

from tests.support.fake_api import FakeApi, make_job
from trainshed.items import run


@pytest.fixture
def api() -> FakeApi:
    """An API with five jobs, and pages of two."""
    api = FakeApi()
    for number in range(5):
        api.add(make_job(name=f"job {number}"))
    return api


def test_no_more_items_than_the_limit_are_fetched(api: FakeApi) -> None:
    assert len(list(api.connect().jobs(limit=3))) == 3
    assert len(api.requests) == 2
    assert list(api.connect().jobs(limit=0)) == []


def test_a_closed_list_has_ended(api: FakeApi) -> None:
    jobs = api.connect().jobs()
    next(jobs)
    jobs.close()
    assert jobs.to_list() == []


def test_the_items_that_are_left_become_a_data_frame(api: FakeApi) -> None:
    jobs = api.connect().jobs()
    next(jobs)
    assert list(jobs.to_frame().name) == ["job 3", "job 2", "job 1", "job 0"]


def test_within_an_event_loop_the_blocking_client_works_too(api: FakeApi) -> None:
    async def in_a_notebook() -> int:
        return len(list(api.connect().jobs()))

    assert asyncio.run(in_a_notebook()) == 5


def test_a_coroutine_that_would_be_suspended_is_refused() -> None:
    async def suspended() -> None:
        await asyncio.wrap_future(Future(), loop=loop)

    loop = asyncio.new_event_loop()
    with closing(loop), pytest.raises(RuntimeError, match="suspended"):
        run(suspended())


def test_a_list_says_what_to_do_with_it(api: FakeApi) -> None:
    assert "to_frame()" in repr(api.connect().jobs())
    assert "await" in repr(api.connect_async().jobs())
