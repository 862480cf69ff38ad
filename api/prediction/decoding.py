"""Decoding of uploaded images, one upload at a time, so that the memory it takes is bounded and given back.

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

_MAX_UPLOADS = 16  # that are received, or wait to be decoded: 80 MiB
_MAX_OF_CLIENT = 4  # of these, so that one whose uploads do not arrive leaves room for the others
_MAX_WAIT_S = 10.0


class Decoder:
    """Decodes uploads in a thread of its own. For one event loop."""

    def __init__(
        self,
        *,
        max_uploads: int = _MAX_UPLOADS,
        max_of_client: int = _MAX_OF_CLIENT,
        max_wait_s: float = _MAX_WAIT_S,
    ) -> None:
        """Prepare to decode.

        Args:
            max_uploads: uploads that are held in memory; the others are not received yet.
            max_of_client: of these, the ones of a client.
            max_wait_s: seconds that an upload waits until it is received, and until it is decoded.
        """
        self._max_wait_s = max_wait_s
        self._max_of_client = max_of_client
        self._uploads = asyncio.Semaphore(max_uploads)
        # each for as long as a request of the client holds it
        self._uploads_of = WeakValueDictionary[str, asyncio.Semaphore]()
        self._turn = asyncio.Semaphore(1)
        self._thread = ThreadPoolExecutor(1, "decoder")

    def close(self) -> None:
        """End the thread, after what it decodes."""
        self._thread.shutdown(cancel_futures=True)

    async def decode(
        self, receive: Callable[[], Awaitable[bytes]], decode: Callable[[bytes], T], client: str
    ) -> T:
        """Receive an upload of a client, call `decode` with it, and return the result.

        Raises:
            DecoderBusy: too many others wait.
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
