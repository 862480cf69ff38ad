"""Downloads: retries, resumption after a lost connection, and errors that name the cause."""

import gzip
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from shared.addresses import public
from shared.datasets import downloads
from shared.datasets.downloads import Patience
from shared.errors import CancelRequested, DataCorrupt, DataUnavailable
from shared.settings import Settings
from tests.support.fakes import MonotonicClock
from tests.support.file_server import FileServer, Response, running_file_server
from tests.support.full_disk import files_limited_to
from tests.support.waiting import wait_until

BODY = bytes(range(256)) * 1_000
ETAG = {"ETag": '"v1"'}


@pytest.fixture
def server() -> Iterator[FileServer]:
    with running_file_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "BACKOFF_CAP_S", 0.01)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, download_timeout_s=5, download_attempts=2)


def patience(settings: Settings, check: Callable[[], None] = lambda: None) -> Patience:
    return Patience(settings, check)


def fetch(url: str, settings: Settings, check: Callable[[], None] = lambda: None) -> bytes:
    with downloads.open_url(url, settings.data_dir, settings, patience(settings, check)) as file:
        return file.read()


def download_error(url: str, settings: Settings) -> str:
    """Return the message of the failed download, which contains the address; no file is left on the disk."""
    with pytest.raises(DataUnavailable) as error:
        fetch(url, settings)
    assert public(url) in str(error.value)
    assert list(settings.data_dir.iterdir()) == []
    return str(error.value)


def test_a_download_is_complete_with_one_request(server: FileServer, settings: Settings) -> None:
    assert fetch(server.serve("/a", Response(BODY)), settings) == BODY
    assert len(server.requests) == 1


def test_a_download_is_an_unnamed_temporary_file(server: FileServer, settings: Settings) -> None:
    url = server.serve("/a", Response(BODY))
    with downloads.open_url(url, settings.data_dir, settings, patience(settings)):
        assert list(settings.data_dir.iterdir()) == []


def test_redirects_are_followed(server: FileServer, settings: Settings) -> None:
    target = server.serve("/target", Response(BODY))
    redirect = server.serve("/redirect", Response(status=302, headers={"Location": target}))
    assert fetch(redirect, settings) == BODY


def test_a_body_that_the_server_compresses_nevertheless_is_decompressed(
    server: FileServer, settings: Settings
) -> None:
    compressed = Response(gzip.compress(BODY), headers={"Content-Encoding": "gzip", **ETAG})
    assert fetch(server.serve("/a", compressed), settings) == BODY


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip,deflate", "br", "zstd"])
def test_a_body_that_could_expand_without_a_bound_is_refused(
    encoding: str, server: FileServer, settings: Settings
) -> None:
    bomb = Response(gzip.compress(gzip.compress(BODY)), headers={"Content-Encoding": encoding})
    assert "the server compresses the file as" in download_error(server.serve("/a", bomb), settings)
    assert server.count("/a") == 1
    assert server.count("/a") == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_transient_error_is_retried(status: int, server: FileServer, settings: Settings) -> None:
    assert fetch(server.serve("/a", Response(status=status), Response(BODY)), settings) == BODY
    assert server.count("/a") == 2


def test_a_persistent_server_error_is_refused_after_the_last_attempt(
    server: FileServer, settings: Settings
) -> None:
    url = server.serve("/a", Response(status=500))
    message = download_error(url, settings.model_copy(update={"download_attempts": 3}))
    assert "HTTP 500 Internal Server Error (the last of 3 attempts)" in message
    assert server.count("/a") == 3


@pytest.mark.parametrize(("status", "reason"), [(404, "Not Found"), (403, "Forbidden"), (204, "No Content")])
def test_a_permanent_error_is_refused_at_once(
    status: int, reason: str, server: FileServer, settings: Settings
) -> None:
    assert f"HTTP {status} {reason}" in download_error(server.serve("/a", Response(status=status)), settings)
    assert server.count("/a") == 1


def test_a_download_whose_connection_was_cut_is_resumed(server: FileServer, settings: Settings) -> None:
    whole = Response(BODY, headers=ETAG)
    url = server.serve("/a", Response(BODY, headers=ETAG, cut_after=100_000), whole)
    assert fetch(url, settings) == BODY
    first, second = server.requests
    assert "range" not in first.headers
    assert second.headers["range"] == "bytes=100000-"
    assert second.headers["if-range"] == '"v1"'


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"v1"'}])
def test_without_a_strong_etag_a_cut_download_starts_over(
    headers: dict[str, str], server: FileServer, settings: Settings
) -> None:
    url = server.serve(
        "/a", Response(BODY, headers=headers, cut_after=9_999), Response(BODY, headers=headers)
    )
    assert fetch(url, settings) == BODY
    assert "range" not in server.requests[1].headers


def test_bytes_of_two_versions_of_a_file_are_not_mixed(server: FileServer, settings: Settings) -> None:
    changed = BODY[::-1]
    url = server.serve(
        "/a", Response(BODY, headers=ETAG, cut_after=9_999), Response(changed, headers={"ETag": '"v2"'})
    )
    assert fetch(url, settings) == changed


@pytest.mark.parametrize(
    "wrong",
    [
        Response(BODY[5_000:], 206, {**ETAG, "Content-Range": f"bytes 5000-{len(BODY) - 1}/{len(BODY)}"}),
        Response(
            BODY[9_999:], 206, {"ETag": '"v2"', "Content-Range": f"bytes 9999-{len(BODY) - 1}/{len(BODY)}"}
        ),
        Response(BODY[9_999:20_000], 206, {**ETAG, "Content-Range": f"bytes 9999-19999/{len(BODY)}"}),
        Response(BODY[9_999:], 206, ETAG),
        Response(b"", 416),
    ],
    ids=["another start", "another version", "not to the end", "no range named", "out of range"],
)
def test_a_response_with_a_range_that_was_not_requested_is_discarded(
    wrong: Response, server: FileServer, settings: Settings
) -> None:
    url = server.serve(
        "/a", Response(BODY, headers=ETAG, cut_after=9_999), wrong, Response(BODY, headers=ETAG)
    )
    assert fetch(url, settings.model_copy(update={"download_attempts": 3})) == BODY


def test_a_file_whose_connection_is_always_cut_is_refused(server: FileServer, settings: Settings) -> None:
    message = download_error(server.serve("/a", Response(BODY, cut_after=1_000)), settings)
    assert "without sending complete message body (received 1000 bytes, expected 256000)" in message
    assert server.count("/a") == 2


@pytest.mark.parametrize("sent", [0, 1_000])
def test_a_server_that_stalls_is_abandoned_after_the_timeout(
    sent: int, server: FileServer, settings: Settings
) -> None:
    url = server.serve("/a", Response(BODY, pause_after=sent))
    assert "less than 1,000 bytes a second were received for 0.5 s" in download_error(
        url, settings.model_copy(update={"download_timeout_s": 0.5})
    )
    # the server may read a request after the client has given it up
    wait_until(lambda: server.count("/a") == 2, "both attempts have reached the server")


def test_a_stalled_download_is_resumed_by_the_next_attempt(server: FileServer, settings: Settings) -> None:
    url = server.serve("/a", Response(BODY, headers=ETAG, pause_after=100_000), Response(BODY, headers=ETAG))
    # long enough that a busy machine sends the first part, too
    assert fetch(url, settings.model_copy(update={"download_timeout_s": 1.0})) == BODY
    assert server.requests[1].headers["range"] == "bytes=100000-"


def test_a_server_that_drips_is_abandoned_after_the_timeout(server: FileServer, settings: Settings) -> None:
    url = server.serve("/a", Response(BODY, drip=(1, 0.01)))
    assert "less than 1,000 bytes a second" in download_error(
        url, settings.model_copy(update={"download_timeout_s": 0.2})
    )


def test_a_server_that_is_slow_but_fast_enough_is_not_abandoned(
    server: FileServer, settings: Settings
) -> None:
    url = server.serve("/a", Response(BODY, drip=(32_000, 0.15)))  # 1.2 s in all
    assert fetch(url, settings.model_copy(update={"download_timeout_s": 1.0})) == BODY
    assert server.count("/a") == 1


HOSTILE = {
    "silent": Response(silent=True),
    "stalls": Response(BODY, pause_after=1_000),
    "drips": Response(BODY, drip=(1, 0.1)),
    "drips headers": Response(BODY, drip=(1, 0.1), drips_headers=True),
    "is fast enough, but endless": Response(BODY, drip=(2_000, 0.1), endless=True),
}


@pytest.mark.parametrize("behaviour", HOSTILE)
def test_an_interruption_ends_a_download_at_once_whatever_the_server_does(
    behaviour: str, server: FileServer, settings: Settings
) -> None:
    url = server.serve("/a", HOSTILE[behaviour])
    requested_at: list[float] = []

    def check() -> None:
        if server.requests:
            requested_at.append(monotonic())
            raise CancelRequested

    with pytest.raises(CancelRequested):
        fetch(url, settings, check)
    assert monotonic() - requested_at[0] < 2  # the timeout is 5 s
    assert list(settings.data_dir.iterdir()) == []


def test_an_interruption_ends_the_wait_before_another_attempt(
    server: FileServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "BACKOFF_BASE_S", 60.0)
    monkeypatch.setattr(downloads, "BACKOFF_CAP_S", 60.0)
    url = server.serve("/a", Response(status=503))

    def check() -> None:
        if server.requests:
            raise CancelRequested

    with pytest.raises(CancelRequested):
        fetch(url, settings, check)


def test_an_interruption_ends_a_download_whose_name_server_does_not_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = Event(), Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        asked.set()
        answer.wait()
        return []

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)

    def check() -> None:
        if asked.is_set():
            raise CancelRequested

    with pytest.raises(CancelRequested):
        fetch("http://host.test/a", settings, check)
    answer.set()


@pytest.mark.parametrize("behaviour", HOSTILE)
def test_no_download_lasts_longer_than_the_deadline(
    behaviour: str, server: FileServer, settings: Settings
) -> None:
    url = server.serve("/a", HOSTILE[behaviour])
    started_at = monotonic()
    message = download_error(url, settings.model_copy(update={"download_deadline_s": 0.3}))
    assert f"the download of {url} took longer than DOWNLOAD_DEADLINE_S, 0.3 s" in message
    assert monotonic() - started_at < 3


def test_a_redirect_loop_ends(server: FileServer, settings: Settings) -> None:
    url = server.serve("/a", Response(status=302, headers={"Location": server.url("/a")}))
    assert "redirect" in download_error(url, settings)


def test_a_refused_connection_is_reported(settings: Settings) -> None:
    with running_file_server() as stopped:
        url = stopped.url("/a")
    assert "Connection refused" in download_error(url, settings)


def test_an_unknown_host_is_reported(settings: Settings) -> None:
    message = download_error("http://no-such-host.invalid/a", settings)
    assert "resolution" in message or "known" in message


@pytest.mark.parametrize("url", ["http://", "http:///a", "http://[::1/a", "http://host:port/a"])
def test_an_invalid_address_is_refused(url: str, settings: Settings) -> None:
    download_error(url, settings)


def test_a_file_beyond_the_size_limit_is_refused(
    server: FileServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MAX_BYTES", 100_000)
    with pytest.raises(DataCorrupt, match="larger than 100,000 bytes"):
        fetch(server.serve("/a", Response(BODY)), settings)
    with pytest.raises(DataCorrupt, match="larger than 100,000 bytes"):
        fetch(server.serve("/b", Response(BODY, endless=True)), settings)


def test_a_full_disk_is_an_os_error(server: FileServer, settings: Settings) -> None:
    with files_limited_to(100_000), pytest.raises(OSError, match="File too large"):
        fetch(server.serve("/a", Response(BODY)), settings)
    assert list(settings.data_dir.iterdir()) == []


def test_messages_contain_no_secrets_of_an_address(server: FileServer, settings: Settings) -> None:
    url = server.url("/a?token=secret").replace("http://", "http://user:secret@")
    message = download_error(url, settings)
    assert "secret" not in message
    assert server.url("/a") in message


def test_a_file_at_a_file_url_is_opened_in_place(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("a folder #1") / "häßlich?.png"
    path.write_bytes(BODY)
    assert fetch(path.as_uri(), settings) == BODY
    assert fetch(path.as_uri().replace("file://", "file://localhost"), settings) == BODY


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///no/such/file", "No such file or directory"),
        ("file:///", "Is a directory"),
        ("file:///dev/null/file", "Not a directory"),
        ("file://data/file", "`data` is read as a host: write a third slash before the path"),
        ("file:///%00", "embedded null"),
    ],
)
def test_a_file_that_cannot_be_opened_is_refused_with_the_reason(
    url: str, reason: str, settings: Settings
) -> None:
    assert reason in download_error(url, settings)


def test_a_pipe_is_refused_before_it_is_opened(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("pipes") / "pipe"
    os.mkfifo(path)
    assert "it is a pipe or a device" in download_error(path.as_uri(), settings)
    assert "it is a pipe or a device" in download_error("file:///dev/zero", settings)


def test_a_file_that_is_too_large_is_refused(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("large") / "file"
    path.touch()
    os.truncate(path, downloads.MAX_BYTES + 1)
    with pytest.raises(DataCorrupt, match="is larger than"):
        fetch(path.as_uri(), settings)


def test_the_time_limit_of_a_download_holds_for_reading_a_file_too(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path_factory.mktemp("slow") / "file"
    path.write_bytes(BODY)
    clock = MonotonicClock()
    monkeypatch.setattr("shared.datasets.downloads.time.monotonic", clock)
    waits = patience(settings)
    with downloads.open_url(path.as_uri(), settings.data_dir, settings, waits) as file:
        assert file.read(1)
        file.seek(0, os.SEEK_END)
        clock.advance(settings.download_deadline_s + 1)
        with pytest.raises(DataUnavailable, match=f"reading {path.as_uri()} took longer than DOWNLOAD_DEAD"):
            file.read(1)


def test_a_file_without_permission_is_refused(settings: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(BODY)
        path.chmod(0)
        user = os.geteuid()
        os.seteuid(65_534 if user == 0 else user)  # root may read everything
        try:
            with pytest.raises(DataUnavailable, match=f"{path}: Permission denied"):
                fetch(path.as_uri(), settings)
        finally:
            os.seteuid(user)
