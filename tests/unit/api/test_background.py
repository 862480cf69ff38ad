import asyncio
from contextlib import suppress

import pytest

from api import background
from api.background import running_tasks


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
