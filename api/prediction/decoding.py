"""Decoding of uploaded images, one upload at a time, so that its memory is bounded and released.

A file of 75 kB can hold 16 megapixels, which take 64 MiB once they are decoded, and for a moment up to three
times as much.
"""

import asyncio
import ctypes
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import TypeVar
from weakref import WeakValueDictionary

from shared.errors import DecoderBusy

T = TypeVar("T")

_MAX_UPLOADS = 16  # uploads being received or waiting to be decoded; 80 MiB in all
_MAX_OF_CLIENT = 4  # of these for each client, so that a client with stalled uploads leaves room for others
_MAX_WAIT_S = 10.0


class Decoder:
    """A decoder of uploads, with a thread of its own. For one event loop."""

    def __init__(
        self,
        *,
        max_uploads: int = _MAX_UPLOADS,
        max_of_client: int = _MAX_OF_CLIENT,
        max_wait_s: float = _MAX_WAIT_S,
    ) -> None:
        """Prepare to decode.

        Args:
            max_uploads: the most uploads in memory; further ones are not received yet.
            max_of_client: the most uploads of one client among them.
            max_wait_s: the most seconds that an upload waits to be received, and then to be decoded.
        """
        self._max_wait_s = max_wait_s
        self._max_of_client = max_of_client
        self._uploads = asyncio.Semaphore(max_uploads)
        # an entry lasts as long as a request of the client refers to its semaphore
        self._uploads_of = WeakValueDictionary[str, asyncio.Semaphore]()
        self._turn = asyncio.Semaphore(1)
        self._thread = ThreadPoolExecutor(1, "decoder")

    def close(self) -> None:
        """End the thread, after the upload that it is decoding."""
        self._thread.shutdown(cancel_futures=True)

    async def decode(
        self, receive: Callable[[], Awaitable[bytes]], decode: Callable[[bytes], T], client: str
    ) -> T:
        """Receive an upload of a client, call `decode` with it, and return the result.

        Raises:
            DecoderBusy: other uploads kept this one waiting for longer than `max_wait_s`.
        """
        own = self._uploads_of.get(client)
        if own is None:
            own = self._uploads_of[client] = asyncio.Semaphore(self._max_of_client)
        async with self._wait(own), self._wait(self._uploads):
            upload = await receive()
            async with self._wait(self._turn):
                return await asyncio.get_running_loop().run_in_executor(
                    self._thread, _decode_and_trim, decode, upload
                )

    @asynccontextmanager
    async def _wait(self, permits: asyncio.Semaphore) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._max_wait_s):
                await permits.acquire()
        except TimeoutError as error:
            waited = f"this request has waited for {self._max_wait_s:g} s"
            raise DecoderBusy(f"the images of other requests are being decoded, and {waited}") from error
        try:
            yield
        finally:
            permits.release()


def _decode_and_trim(decode: Callable[[bytes], T], upload: bytes) -> T:
    try:
        return decode(upload)
    finally:
        with suppress(AttributeError, OSError):  # a C library other than glibc
            ctypes.CDLL(None).malloc_trim(0)
