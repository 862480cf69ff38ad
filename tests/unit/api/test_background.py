import asyncio
import threading
from collections import Counter
from contextlib import suppress

import pytest

from api import background
from api.background import SharedCall, running_tasks


def test_tasks_run_during_the_block_and_no_longer() -> None:
    ended = []

    async def run(name: str, has_begun: asyncio.Event) -> None:
        has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def work() -> None:
        first, second = asyncio.Event(), asyncio.Event()
        async with running_tasks(run("first", first), run("second", second)):
            await asyncio.gather(first.wait(), second.wait())
            assert ended == []

    asyncio.run(asyncio.wait_for(work(), 10))
    assert sorted(ended) == ["first", "second"]


def test_they_end_although_the_redis_client_loses_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = []

    async def run(has_begun: asyncio.Event) -> None:
        has_begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        lost.append(True)
        await asyncio.Event().wait()

    monkeypatch.setattr(background, "_CANCEL_AGAIN_S", 0.05)

    async def work() -> None:
        has_begun = asyncio.Event()
        async with running_tasks(run(has_begun)):
            await has_begun.wait()

    asyncio.run(asyncio.wait_for(work(), 10))
    assert lost == [True]


def test_calls_that_overlap_share_one_and_later_ones_do_not() -> None:
    begun, may_end, calls = threading.Event(), threading.Event(), Counter[str]()

    def slow() -> int:
        calls["slow"] += 1
        begun.set()
        assert may_end.wait(10)
        return calls["slow"]

    async def work() -> None:
        shared = SharedCall[int]()
        overlapping = [asyncio.create_task(shared.result(slow)) for _ in range(5)]
        await asyncio.to_thread(begun.wait, 10)
        overlapping[0].cancel()  # one who leaves
        overlapping.append(asyncio.create_task(shared.result(slow)))
        may_end.set()
        assert await asyncio.gather(*overlapping[1:]) == [1] * 5
        assert await shared.result(slow) == 2

    asyncio.run(asyncio.wait_for(work(), 20))


def test_a_shared_call_that_fails_fails_for_all_who_share_it() -> None:
    def fail() -> int:
        raise ValueError("no")

    async def work() -> None:
        shared = SharedCall[int]()
        results = await asyncio.gather(*(shared.result(fail) for _ in range(3)), return_exceptions=True)
        assert [str(result) for result in results] == ["no"] * 3
        assert await shared.result(lambda: 7) == 7

    asyncio.run(asyncio.wait_for(work(), 20))
