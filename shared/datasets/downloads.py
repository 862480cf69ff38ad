"""Download of a dataset's files, with retries and resume; `file://` URLs are opened in place.

Whatever a server does, a download ends soon after its caller is interrupted, and at the latest after a time
limit. So it runs in an event loop, where each wait can be cancelled.
"""

import asyncio
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from io import BufferedReader, FileIO
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from tempfile import TemporaryFile
from threading import Thread
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from shared.addresses import public
from shared.errors import DataCorrupt, DataUnavailable
from shared.settings import Settings

MAX_BYTES = 2**30
MIN_BYTES_PER_S = 1_000
"""A server that sends less, over `DOWNLOAD_TIMEOUT_S`, counts as stalled."""
BACKOFF_BASE_S = 0.25
BACKOFF_CAP_S = 5.0
CHECK_S = 0.1
"""Seconds between two checks of a waiting caller for an interruption."""

_TRANSIENT_STATUSES = frozenset({408, 425, 429})  # below 500; a retry may succeed
# accepted if a server compresses unasked: another encoding, or two of these, may turn 64 kB into gigabytes
_ENCODINGS = ("", "identity", "gzip", "deflate")
_ADVICE = (
    "Check the address (of `mnist`: TRAINSHED_MNIST_IMAGES_URL and TRAINSHED_MNIST_LABELS_URL), and that "
    "this machine can reach it; the dataset `digits` needs no network."
)

_log = logging.getLogger(__name__)


class Patience:
    """Ends the wait for a dataset when the caller is interrupted or a time limit has passed."""

    def __init__(self, settings: Settings, check: Callable[[], None]) -> None:
        """Begin to wait; `check` raises if the caller is interrupted."""
        self._limit_s = settings.download_deadline_s
        self._deadline = time.monotonic() + self._limit_s
        self._check = check

    def check(self, waiting_for: str) -> None:
        """Raise if the wait must end.

        Raises:
            DataUnavailable: the time limit has passed; the message says what was waited for.
            Exception: the error of the caller's check.
        """
        self._check()
        if time.monotonic() > self._deadline:
            raise DataUnavailable(
                f"{waiting_for} took longer than DOWNLOAD_DEADLINE_S, {self._limit_s:g} s. {_ADVICE}"
            )


class _TransientError(Exception):
    """A failed request that is worth a retry; the message is the reason."""


@contextmanager
def open_url(url: str, folder: Path, settings: Settings, patience: Patience) -> Iterator[BinaryIO]:
    """Open the complete file at a URL, at its first byte.

    A download goes into a file without a name in `folder`, which the kernel frees when it is closed or its
    process is killed, so an incomplete file is never left behind.

    Raises:
        DataUnavailable: the file cannot be downloaded or read in time; the message has URL and reason.
        DataCorrupt: the file is larger than `MAX_BYTES`.
        OSError: the disk did not take the download.
        Exception: the error of the caller's check, at most 0.1 s after it is due.
    """
    patience.check(f"what preceded {public(url)}")
    if url.startswith("file:"):
        with _open_file(url, patience) as file:
            yield file
    else:
        with TemporaryFile(dir=folder) as copy:
            loop = _Loop()
            try:
                loop.run_until_complete(_watched(_download(url, copy, settings), url, patience))
            finally:
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.close()
            copy.seek(0)
            yield copy


def _open_file(url: str, patience: Patience) -> BinaryIO:
    try:
        path = file_path(url)
        status = path.stat()
        if not S_ISREG(status.st_mode):  # opening a pipe would wait for a writer, and a device has no end
            raise ValueError("Is a directory" if S_ISDIR(status.st_mode) else "it is a pipe or a device")
        if status.st_size > MAX_BYTES:
            raise _too_large(url)
        return BufferedReader(_WatchedFile(path, partial(patience.check, f"reading {public(url)}")))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataUnavailable(f"cannot read {public(url)}: {reason}. {_ADVICE}") from error


def file_path(url: str) -> Path:
    """Return the path that a `file://` URL names.

    Raises:
        ValueError: it names a host too.
    """
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(f"`{parts.netloc}` is read as a host: write a third slash before the path")
    return Path(url2pathname(parts.path))


class _WatchedFile(FileIO):
    """A file that calls a function before each read."""

    def __init__(self, path: Path, check: Callable[[], None]) -> None:
        super().__init__(path)
        self._check = check

    def readinto(self, buffer: Any) -> int | None:
        """Read into a buffer; raises what the function raises."""
        self._check()
        return super().readinto(buffer)


def _too_large(url: str) -> DataCorrupt:
    return DataCorrupt(
        f"{public(url)} is larger than {MAX_BYTES:,} bytes, the most that a dataset's file may have. Correct "
        "the address in the settings."
    )


async def _watched(download: Coroutine[Any, Any, None], url: str, patience: Patience) -> None:
    """Run a download until it ends, or until the wait for it must end."""
    task = asyncio.ensure_future(download)
    try:
        while not (await asyncio.wait([task], timeout=CHECK_S))[0]:
            patience.check(f"the download of {public(url)}")
        task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _download(url: str, copy: BinaryIO, settings: Settings) -> None:
    attempts = settings.download_attempts

    def log_failure(state: RetryCallState) -> None:
        reason, number = state.outcome and state.outcome.exception(), state.attempt_number
        _log.warning("attempt %d of %d to download %s failed: %s", number, attempts, public(url), reason)

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(_TransientError),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=BACKOFF_BASE_S, max=BACKOFF_CAP_S),
        after=log_failure,
        reraise=True,
    )
    # `identity`, so that lengths and ranges count the file's own bytes; _Download has its own timeout
    async with httpx.AsyncClient(
        timeout=None, follow_redirects=True, headers={"Accept-Encoding": "identity"}
    ) as client:
        try:
            await retrying(_Download(url, copy, settings.download_timeout_s).resume, client)
        except _TransientError as error:
            raise DataUnavailable(
                f"cannot download {public(url)}: {error} (the last of {attempts} attempts). {_ADVICE}"
            ) from error


def _reason(error: BaseException) -> str:
    """Return the message of the first cause of an error that was translated several times."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    if isinstance(error, BaseExceptionGroup):  # one for each address of the host
        return _reason(error.exceptions[0])
    if type(error) is OSError or isinstance(error, ConnectionError):  # asyncio has reworded it
        return os.strerror(error.errno) if error.errno else str(error)
    return str(error) or type(error).__name__


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that can end while a name server does not answer: no executor waits for the look-up."""

    async def getaddrinfo(self, *args: Any, **options: Any) -> list[Any]:
        """Look an address up."""
        found: Future[list[Any]] = Future()
        found.set_running_or_notify_cancel()  # a look-up cannot be cancelled

        def look_up() -> None:
            try:
                found.set_result(socket.getaddrinfo(*args, **options))
            except Exception as error:
                found.set_exception(error)

        Thread(target=look_up, name="look up an address", daemon=True).start()
        return await asyncio.wrap_future(found, loop=self)


class _Download:
    """An incomplete file, which is resumed if the server guarantees that its bytes are still the same."""

    def __init__(self, url: str, file: BinaryIO, timeout_s: float) -> None:
        self._url = url
        self._file = file
        self._timeout_s = timeout_s
        self._etag: str | None = None  # the ETag of the bytes in `file`

    async def resume(self, client: httpx.AsyncClient) -> None:
        """Request the missing bytes and append them to the file; `_TransientError` if a retry may help."""
        try:
            async with asyncio.timeout(self._timeout_s) as timeout:
                await self._receive(client, timeout)
        except TimeoutError as error:
            raise _TransientError(
                f"less than {MIN_BYTES_PER_S:,} bytes a second were received for {self._timeout_s:g} s"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _TransientError(_reason(error)) from error

    async def _receive(self, client: httpx.AsyncClient, timeout: asyncio.Timeout) -> None:
        received = 0  # bytes since the timeout began
        async with client.stream("GET", self._url, headers=self._range()) as response:
            self._accept(response)
            async for chunk in response.aiter_bytes():
                self._file.write(chunk)
                if self._file.tell() > MAX_BYTES:
                    raise _too_large(self._url)
                received += len(chunk)
                if received >= MIN_BYTES_PER_S * self._timeout_s:
                    received = 0
                    timeout.reschedule(asyncio.get_running_loop().time() + self._timeout_s)
        self._file.flush()

    def _range(self) -> dict[str, str]:
        received = self._file.tell()
        return {"Range": f"bytes={received}-", "If-Range": self._etag} if received and self._etag else {}

    def _accept(self, response: httpx.Response) -> None:
        """Move to the place in the file where the response's body belongs, or refuse the response."""
        status = response.status_code
        encoding = response.headers.get("Content-Encoding", "").lower()
        if encoding not in _ENCODINGS:
            reason = f"the server compresses the file as `{encoding}`"
            raise DataUnavailable(f"cannot download {public(self._url)}: {reason}. {_ADVICE}")
        if status == 206 and self._is_continued_by(response):
            return
        if status in (200, 206, 416):
            self._start_over(response)
        if status in (206, 416):
            raise _TransientError("the server returned another range of the file than was requested")
        if status != 200:
            reason = f"HTTP {status} {response.reason_phrase}"
            if status >= 500 or status in _TRANSIENT_STATUSES:
                raise _TransientError(reason)
            raise DataUnavailable(f"cannot download {public(self._url)}: {reason}. {_ADVICE}")

    def _is_continued_by(self, response: httpx.Response) -> bool:
        content_range = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
        if content_range is None or response.headers.get("ETag") != self._etag:
            return False
        start, last, total = map(int, content_range.groups())
        return start == self._file.tell() and last == total - 1

    def _start_over(self, response: httpx.Response) -> None:
        self._file.seek(0)
        self._file.truncate()
        etag = response.headers.get("ETag", "W/")
        # only a strong ETag guarantees the same bytes (RFC 9110, 13.1.5), and a range counts encoded bytes
        resumable = not etag.startswith("W/") and "Content-Encoding" not in response.headers
        self._etag = etag if resumable else None
