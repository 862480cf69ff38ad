import asyncio
import signal
from collections.abc import Iterator
from threading import Thread
from types import FrameType

import pytest

from api.http.stopping import stop_noticed


@pytest.fixture
def stopped() -> Iterator[list[int]]:
    """The signals that reached the server's own handler of SIGTERM."""
    signals: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        signals.append(number)

    before = signal.signal(signal.SIGTERM, handle)
    yield signals
    signal.signal(signal.SIGTERM, before)


def test_stop_is_noticed_in_the_event_loop_and_the_server_is_told_too(stopped: list[int]) -> None:
    async def run() -> None:
        noticed = asyncio.Event()
        with stop_noticed(noticed.set):
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(noticed.wait(), 10)

    asyncio.run(run())

    assert stopped == [signal.SIGTERM]


def test_server_has_its_own_handler_again_afterwards(stopped: list[int]) -> None:
    async def run() -> None:
        with stop_noticed(stopped.clear):
            pass
        signal.raise_signal(signal.SIGTERM)

    asyncio.run(run())

    assert stopped == [signal.SIGTERM]


def test_in_a_thread_nothing_is_changed(stopped: list[int]) -> None:
    handler, seen = signal.getsignal(signal.SIGTERM), []

    async def run() -> None:
        with stop_noticed(stopped.clear):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join()

    assert seen == [handler]
