import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from threading import Event, get_ident
from typing import TypeVar

import pytest

from api.prediction.decoding import Decoder
from shared.errors import DecoderBusy, UnreadableImage

T = TypeVar("T")
ADA, BOB = "key of Ada", "key of Bob"


@pytest.fixture
def blocked() -> Iterator[Event]:
    """What holds a decoding back until it is set."""
    event = Event()
    yield event
    event.set()


async def _upload() -> bytes:
    return b"an image"


def _run(use: Callable[[Decoder], Awaitable[T]], *, max_uploads: int = 16, max_wait_s: float = 10.0) -> T:
    async def run() -> T:
        with closing(Decoder(max_uploads=max_uploads, max_wait_s=max_wait_s)) as decoder:
            return await use(decoder)

    return asyncio.run(run())


def test_uploads_are_decoded_one_at_a_time_in_one_thread() -> None:
    running, most, threads = 0, 0, set[int]()

    def decode(upload: bytes) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        threads.add(get_ident())
        running -= 1
        return upload

    async def use(decoder: Decoder) -> list[bytes]:
        return await asyncio.gather(*(decoder.decode(_upload, decode, ADA) for _ in range(40)))

    assert _run(use) == [b"an image"] * 40
    assert (most, len(threads)) == (1, 1)


def test_an_error_of_one_upload_does_not_hinder_the_next() -> None:
    def fail(_upload: bytes) -> None:
        raise UnreadableImage("damaged")

    async def use(decoder: Decoder) -> int:
        for _ in range(3):
            with pytest.raises(UnreadableImage):
                await decoder.decode(_upload, fail, ADA)
        return await decoder.decode(_upload, len, ADA)

    assert _run(use, max_uploads=1) == 8


def test_an_upload_whose_turn_does_not_come_in_time_is_refused_and_those_after_it_are_decoded(
    blocked: Event,
) -> None:
    async def use(decoder: Decoder) -> int:
        begun = asyncio.Event()

        async def receive() -> bytes:
            begun.set()
            return b""

        first = asyncio.create_task(decoder.decode(receive, lambda _: blocked.wait(10), ADA))
        await begun.wait()
        with pytest.raises(DecoderBusy, match=r"waited for 0\.05 s"):
            await decoder.decode(_upload, len, ADA)
        blocked.set()
        assert await first
        return await decoder.decode(_upload, len, ADA)

    assert _run(use, max_wait_s=0.05) == 8


def test_what_would_need_too_much_memory_is_not_received_before_there_is_room(blocked: Event) -> None:
    received = 0

    async def receive() -> bytes:
        nonlocal received
        received += 1
        return b""

    async def use(decoder: Decoder) -> None:
        uploads = [
            asyncio.create_task(decoder.decode(receive, lambda _: blocked.wait(10), ADA)) for _ in range(5)
        ]
        await asyncio.wait(uploads, timeout=0.05)
        assert received == 2
        blocked.set()
        await asyncio.gather(*uploads)
        assert received == 5

    _run(use, max_uploads=2)


def test_a_client_whose_uploads_do_not_arrive_holds_up_no_other() -> None:
    async def never() -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async def use(decoder: Decoder) -> list[int]:
        hanging = [asyncio.create_task(decoder.decode(never, len, ADA)) for _ in range(40)]
        await asyncio.wait(hanging, timeout=0.05)
        decoded = await asyncio.gather(*(decoder.decode(_upload, len, BOB) for _ in range(20)))
        for upload in hanging:
            upload.cancel()
        await asyncio.wait(hanging)
        return [*decoded, await decoder.decode(_upload, len, ADA)]

    assert _run(use, max_wait_s=5.0) == [8] * 21
