"""Download of a dataset's files, with retries and resume; `file://` URLs are opened in place."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from shared.errors import DataCorrupt, DataUnavailable
from shared.settings import Settings

MAX_BYTES = 2**30
BACKOFF_BASE_S = 0.25
BACKOFF_CAP_S = 5.0

_TRANSIENT_STATUSES = frozenset({408, 425, 429})  # below 500; a retry may succeed
# of a server that compresses nevertheless: one of the others, or two of these, may turn 64 kB into gigabytes
_ENCODINGS = ("", "identity", "gzip", "deflate")
_ADVICE = "Check the address, and that this machine can reach it; the dataset `digits` needs no network."

_log = logging.getLogger(__name__)


class _TransientError(Exception):
    """A failed request that is worth a retry; the message is the reason."""


def public(url: str) -> str:
    """Return a URL without its user, password, query and fragment, which may be secret, for messages."""
    return re.sub(r"(?<=://)[^/?#]*@|[?#].*", "", url)


@contextmanager
def open_url(url: str, folder: Path, settings: Settings) -> Iterator[BinaryIO]:
    """Open the complete file at a URL, at its first byte.

    A download goes into a file without a name in `folder`, which the kernel frees when it is closed or its
    process is killed, so an incomplete file is never left behind.

    Raises:
        DataUnavailable: the file cannot be downloaded or read; the message has the URL and the reason.
        DataCorrupt: the file is larger than `MAX_BYTES`.
        OSError: the disk did not take the download.
    """
    if url.startswith("file:"):
        with _open_file(url) as file:
            yield file
    else:
        with TemporaryFile(dir=folder) as copy:
            _download(url, copy, settings)
            copy.seek(0)
            yield copy


def _open_file(url: str) -> BinaryIO:
    try:
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost"):
            raise ValueError(f"`{parts.netloc}` is read as a host: write a third slash before the path")
        return Path(url2pathname(parts.path)).open("rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataUnavailable(f"cannot read {public(url)}: {reason}. {_ADVICE}") from error


def _download(url: str, copy: BinaryIO, settings: Settings) -> None:
    attempts = settings.download_attempts

    def log_failure(state: RetryCallState) -> None:
        reason, number = state.outcome and state.outcome.exception(), state.attempt_number
        _log.warning("attempt %d of %d to download %s failed: %s", number, attempts, public(url), reason)

    retrying = Retrying(
        retry=retry_if_exception_type(_TransientError),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=BACKOFF_BASE_S, max=BACKOFF_CAP_S),
        after=log_failure,
        reraise=True,
    )
    # `identity`, so that lengths and ranges count the file's own bytes
    with httpx.Client(
        timeout=settings.download_timeout_s, follow_redirects=True, headers={"Accept-Encoding": "identity"}
    ) as client:
        try:
            retrying(_Download(url, copy).resume, client)
        except _TransientError as error:
            raise DataUnavailable(
                f"cannot download {public(url)}: {error} (the last of {attempts} attempts). {_ADVICE}"
            ) from error


class _Download:
    """An incomplete file, which is resumed if the server guarantees that its bytes are still the same."""

    def __init__(self, url: str, file: BinaryIO) -> None:
        self._url = url
        self._file = file
        self._etag: str | None = None  # of the bytes in `file`

    def resume(self, client: httpx.Client) -> None:
        """Request the missing bytes and write them to the file; a transient error is a `_TransientError`."""
        try:
            self._receive(client)
        except httpx.TimeoutException as error:
            raise _TransientError(f"no data was received for {client.timeout.read:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _TransientError(str(error) or type(error).__name__) from error

    def _receive(self, client: httpx.Client) -> None:
        with client.stream("GET", self._url, headers=self._range()) as response:
            self._accept(response)
            for chunk in response.iter_bytes():
                self._file.write(chunk)
                if self._file.tell() > MAX_BYTES:
                    raise DataCorrupt(
                        f"{public(self._url)} is larger than {MAX_BYTES:,} bytes, the most that a dataset's "
                        "file may have. Correct the address in the settings."
                    )
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
