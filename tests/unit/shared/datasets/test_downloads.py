"""A file comes whole, over a bad line too, or not at all and with the reason."""

import gzip
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.datasets import downloads
from shared.errors import DataCorrupt, DataUnavailable
from shared.settings import Settings
from tests.support.file_server import Answer, FileServer, running_file_server
from tests.support.full_disk import files_limited_to

BODY = bytes(range(256)) * 1_000
ETAG = {"ETag": '"v1"'}


@pytest.fixture
def server() -> Iterator[FileServer]:
    with running_file_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _straight_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(downloads, "BACKOFF_CAP_S", 0.01)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, download_timeout_s=5, download_attempts=2)


def fetched(url: str, settings: Settings) -> bytes:
    with downloads.open_url(url, settings.data_dir, settings) as file:
        return file.read()


def refused(url: str, settings: Settings) -> str:
    """The message of the error, which names the address; nothing is left on the disk."""
    with pytest.raises(DataUnavailable) as caught:
        fetched(url, settings)
    assert downloads.public(url) in str(caught.value)
    assert list(settings.data_dir.iterdir()) == []
    return str(caught.value)


def test_a_download_is_whole_and_counted(server: FileServer, settings: Settings) -> None:
    before = downloads.downloads()
    assert fetched(server.serve("/a", Answer(BODY)), settings) == BODY
    assert downloads.downloads() == before + 1


def test_a_download_has_no_name_on_the_disk(server: FileServer, settings: Settings) -> None:
    with downloads.open_url(server.serve("/a", Answer(BODY)), settings.data_dir, settings):
        assert list(settings.data_dir.iterdir()) == []


def test_redirects_are_followed(server: FileServer, settings: Settings) -> None:
    there = server.serve("/there", Answer(BODY))
    assert fetched(server.serve("/here", Answer(status=302, headers={"Location": there})), settings) == BODY


def test_a_body_that_the_server_compresses_all_the_same_is_unpacked(
    server: FileServer, settings: Settings
) -> None:
    packed = Answer(gzip.compress(BODY), headers={"Content-Encoding": "gzip", **ETAG})
    assert fetched(server.serve("/a", packed), settings) == BODY


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_an_error_that_may_pass_is_tried_again(status: int, server: FileServer, settings: Settings) -> None:
    assert fetched(server.serve("/a", Answer(status=status), Answer(BODY)), settings) == BODY
    assert server.count("/a") == 2


def test_a_server_error_that_stays_is_refused_after_the_last_try(
    server: FileServer, settings: Settings
) -> None:
    url = server.serve("/a", Answer(status=500))
    message = refused(url, settings.model_copy(update={"download_attempts": 3}))
    assert "HTTP 500 Internal Server Error (the last of 3 tries)" in message
    assert server.count("/a") == 3


@pytest.mark.parametrize(("status", "reason"), [(404, "Not Found"), (403, "Forbidden"), (204, "No Content")])
def test_an_error_that_stays_is_refused_at_once(
    status: int, reason: str, server: FileServer, settings: Settings
) -> None:
    assert f"HTTP {status} {reason}" in refused(server.serve("/a", Answer(status=status)), settings)
    assert server.count("/a") == 1


def test_a_cut_connection_goes_on_where_it_broke_off(server: FileServer, settings: Settings) -> None:
    whole = Answer(BODY, headers=ETAG)
    url = server.serve("/a", Answer(BODY, headers=ETAG, cut_after=100_000), whole)
    assert fetched(url, settings) == BODY
    first, second = server.requests
    assert "range" not in first.headers
    assert second.headers["range"] == "bytes=100000-"
    assert second.headers["if-range"] == '"v1"'


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"v1"'}])
def test_without_a_strong_etag_a_cut_download_starts_over(
    headers: dict[str, str], server: FileServer, settings: Settings
) -> None:
    url = server.serve("/a", Answer(BODY, headers=headers, cut_after=9_999), Answer(BODY, headers=headers))
    assert fetched(url, settings) == BODY
    assert "range" not in server.requests[1].headers


def test_a_file_that_changes_between_two_tries_is_never_mixed(server: FileServer, settings: Settings) -> None:
    changed = BODY[::-1]
    url = server.serve(
        "/a", Answer(BODY, headers=ETAG, cut_after=9_999), Answer(changed, headers={"ETag": '"v2"'})
    )
    assert fetched(url, settings) == changed


@pytest.mark.parametrize(
    "wrong",
    [
        Answer(BODY[5_000:], 206, {**ETAG, "Content-Range": f"bytes 5000-{len(BODY) - 1}/{len(BODY)}"}),
        Answer(
            BODY[9_999:], 206, {"ETag": '"v2"', "Content-Range": f"bytes 9999-{len(BODY) - 1}/{len(BODY)}"}
        ),
        Answer(BODY[9_999:20_000], 206, {**ETAG, "Content-Range": f"bytes 9999-19999/{len(BODY)}"}),
        Answer(BODY[9_999:], 206, ETAG),
        Answer(b"", 416),
    ],
    ids=["another start", "another version", "not to the end", "unnamed", "out of range"],
)
def test_another_part_than_was_asked_for_is_thrown_away(
    wrong: Answer, server: FileServer, settings: Settings
) -> None:
    url = server.serve("/a", Answer(BODY, headers=ETAG, cut_after=9_999), wrong, Answer(BODY, headers=ETAG))
    assert fetched(url, settings.model_copy(update={"download_attempts": 3})) == BODY


def test_a_connection_that_is_always_cut_is_refused(server: FileServer, settings: Settings) -> None:
    message = refused(server.serve("/a", Answer(BODY, cut_after=1_000)), settings)
    assert "without sending complete message body (received 1000 bytes, expected 256000)" in message
    assert server.count("/a") == 2


@pytest.mark.parametrize("sent", [0, 1_000])
def test_a_server_that_stalls_is_given_up(sent: int, server: FileServer, settings: Settings) -> None:
    url = server.serve("/a", Answer(BODY, pause_after=sent))
    assert "nothing came for 0.1 s" in refused(url, settings.model_copy(update={"download_timeout_s": 0.1}))
    assert server.count("/a") == 2


def test_a_stalled_download_goes_on_in_the_next_try(server: FileServer, settings: Settings) -> None:
    url = server.serve("/a", Answer(BODY, headers=ETAG, pause_after=100_000), Answer(BODY, headers=ETAG))
    assert fetched(url, settings.model_copy(update={"download_timeout_s": 0.2})) == BODY
    assert server.requests[1].headers["range"] == "bytes=100000-"


def test_a_refused_connection_is_named(settings: Settings) -> None:
    with running_file_server() as gone:
        url = gone.url("/a")
    assert "Connection refused" in refused(url, settings)


def test_an_unknown_host_is_named(settings: Settings) -> None:
    assert (
        "resolution" in (message := refused("http://no-such-host.invalid/a", settings)) or "known" in message
    )


@pytest.mark.parametrize("url", ["http://", "http:///a", "http://[::1/a", "http://host:port/a"])
def test_an_address_that_is_none_is_refused(url: str, settings: Settings) -> None:
    refused(url, settings)


def test_a_file_without_end_is_refused(
    server: FileServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MAX_BYTES", 100_000)
    with pytest.raises(DataCorrupt, match="larger than 100,000 bytes"):
        fetched(server.serve("/a", Answer(BODY)), settings)


def test_a_disk_that_takes_no_more_is_an_os_error(server: FileServer, settings: Settings) -> None:
    with files_limited_to(100_000), pytest.raises(OSError, match="File too large"):
        fetched(server.serve("/a", Answer(BODY)), settings)
    assert list(settings.data_dir.iterdir()) == []


def test_messages_show_no_secrets_of_an_address(server: FileServer, settings: Settings) -> None:
    url = server.url("/a?token=secret").replace("http://", "http://user:secret@")
    message = refused(url, settings)
    assert "secret" not in message
    assert server.url("/a") in message


def test_a_file_url_is_opened_where_it_is(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("a folder #1") / "häßlich?.png"
    path.write_bytes(BODY)
    before = downloads.downloads()
    assert fetched(path.as_uri(), settings) == BODY
    assert fetched(path.as_uri().replace("file://", "file://localhost"), settings) == BODY
    assert downloads.downloads() == before


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///no/such/file", "No such file or directory"),
        ("file:///", "Is a directory"),
        ("file:///dev/null/file", "Not a directory"),
        ("file://data/file", "`data` is taken for a host: the address needs a third slash"),
        ("file:///%00", "embedded null byte"),
    ],
)
def test_a_file_that_cannot_be_opened_is_refused_with_the_reason(
    url: str, reason: str, settings: Settings
) -> None:
    assert reason in refused(url, settings)


def test_a_file_without_permission_is_refused(settings: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(BODY)
        path.chmod(0)
        user = os.geteuid()
        os.seteuid(65_534 if user == 0 else user)  # root may read everything
        try:
            with pytest.raises(DataUnavailable, match=f"{path}: Permission denied"):
                fetched(path.as_uri(), settings)
        finally:
            os.seteuid(user)
