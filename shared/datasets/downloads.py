"""One file from an address: `http(s)://` by a download that survives a bad line, `file://` in place."""

import logging
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx

from shared.errors import DataCorrupt, DataUnavailable
from shared.settings import Settings

MAX_BYTES = 2**30
BACKOFF_BASE_S = 0.25
BACKOFF_CAP_S = 5.0

_PASSING = frozenset({408, 425, 429})  # the 4xx answers that a later try may not get
_ADVICE = "Check the address, and that this machine can reach it; the dataset `digits` needs no network."

_downloaded: Counter[str] = Counter()

_log = logging.getLogger(__name__)


class _TryAgain(Exception):
    """This try failed in a way that may pass; the message says how."""


def public(url: str) -> str:
    """The address as messages may show it: without its user, password, query and fragment, often secret."""
    return re.sub(r"(?<=://)[^/?#]*@|[?#].*", "", url)


@contextmanager
def open_url(url: str, folder: Path, settings: Settings) -> Iterator[BinaryIO]:
    """The file at an address, whole, open at its first byte.

    A download goes into a file without a name in `folder`: the kernel frees it when it is closed or its
    process is killed, so that no half of it is ever left, or taken for the whole.

    Raises:
        DataUnavailable: it cannot be had; the message names the address and the reason.
        DataCorrupt: it is larger than `MAX_BYTES`.
        OSError: the disk did not take the download.
    """
    if url.startswith("file:"):
        with _open_file(url) as file:
            yield file
    else:
        with TemporaryFile(dir=folder) as copy:
            _download(url, copy, settings)
            _downloaded[url] += 1
            copy.seek(0)
            yield copy


def downloads() -> int:
    """How many files this process has downloaded since it started."""
    return _downloaded.total()


def _open_file(url: str) -> BinaryIO:
    try:
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost"):
            raise ValueError(f"`{parts.netloc}` is taken for a host: the address needs a third slash")
        return Path(url2pathname(parts.path)).open("rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataUnavailable(f"cannot read {public(url)}: {reason}. {_ADVICE}") from error


def _download(url: str, copy: BinaryIO, settings: Settings) -> None:
    file = _Incoming(url, copy)
    tries = settings.download_attempts
    reason: str | None = None
    # `identity`, so that lengths and ranges count the file's own bytes
    with httpx.Client(
        timeout=settings.download_timeout_s, follow_redirects=True, headers={"Accept-Encoding": "identity"}
    ) as client:
        for number in range(1, tries + 1):
            reason = _failure(file, client)
            if reason is None:
                return
            _log.warning("try %d of %d to fetch %s failed: %s", number, tries, public(url), reason)
            if number < tries:
                time.sleep(min(BACKOFF_BASE_S * 2 ** (number - 1), BACKOFF_CAP_S))
    raise DataUnavailable(f"cannot fetch {public(url)}: {reason} (the last of {tries} tries). {_ADVICE}")


class _Incoming:
    """What has come of a file so far; goes on where it broke off if the server vouches for the same bytes."""

    def __init__(self, url: str, file: BinaryIO) -> None:
        self._url = url
        self._file = file
        self._etag: str | None = None  # of what is in the file

    def receive(self, client: httpx.Client) -> None:
        """Get what is missing; a body shorter than its declared length is an `httpx.RemoteProtocolError`."""
        with client.stream("GET", self._url, headers=self._range()) as response:
            self._accept(response)
            for chunk in response.iter_bytes():
                self._file.write(chunk)
                if self._file.tell() > MAX_BYTES:
                    raise DataCorrupt(
                        f"{public(self._url)} is larger than {MAX_BYTES:,} bytes: it is no dataset's file. "
                        "Correct the address in the settings."
                    )
        self._file.flush()

    def _range(self) -> dict[str, str]:
        have = self._file.tell()
        return {"Range": f"bytes={have}-", "If-Range": self._etag} if have and self._etag else {}

    def _accept(self, response: httpx.Response) -> None:
        """Place the file where the response's body belongs, or refuse the response."""
        status = response.status_code
        if status == 206 and self._continued_by(response):
            return
        if status in (200, 206, 416):
            self._start_over(response)
        if status in (206, 416):
            raise _TryAgain("the server answered with another part of the file than was asked for")
        if status != 200:
            answer = f"HTTP {status} {response.reason_phrase}"
            if status >= 500 or status in _PASSING:
                raise _TryAgain(answer)
            raise DataUnavailable(f"cannot fetch {public(self._url)}: {answer}. {_ADVICE}")

    def _continued_by(self, response: httpx.Response) -> bool:
        part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
        if part is None or response.headers.get("ETag") != self._etag:
            return False
        start, last, total = map(int, part.groups())
        return start == self._file.tell() and last == total - 1

    def _start_over(self, response: httpx.Response) -> None:
        self._file.seek(0)
        self._file.truncate()
        etag = response.headers.get("ETag", "W/")
        # only a strong validator promises the same bytes (RFC 9110, 13.1.5), and a range counts encoded ones
        resumable = not etag.startswith("W/") and "Content-Encoding" not in response.headers
        self._etag = etag if resumable else None


def _failure(file: _Incoming, client: httpx.Client) -> str | None:
    """Try once; why it failed, or None if the file is there."""
    try:
        file.receive(client)
    except httpx.TimeoutException:
        return f"nothing came for {client.timeout.read:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, _TryAgain) as error:
        return str(error) or type(error).__name__
    return None
