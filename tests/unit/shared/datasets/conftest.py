"""A file server with a small dataset."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.support.file_server import FileServer, Response, running_file_server
from tests.support.small_dataset import ONE_HOT, PNG, small_settings


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A server of the small dataset's files, at `/images` and `/labels`."""
    with running_file_server() as server:
        server.serve("/images", Response(PNG))
        server.serve("/labels", Response(ONE_HOT))
        yield server


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach the server directly whatever the environment says."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def small(server: FileServer, tmp_path: Path) -> Settings:
    """Settings with the file server's dataset, `small`, of 8 training and 4 test images."""
    return small_settings(tmp_path, server.url("/images"), server.url("/labels"))
