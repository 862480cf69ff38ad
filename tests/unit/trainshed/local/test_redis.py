"""The Redis of the local stack."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import wait_until
from trainshed.local import redis


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server in the test's folder, once it responds."""
    socket_path = tmp_path / "redis.sock"
    process = subprocess.Popen(redis.command(socket_path), stdout=subprocess.DEVNULL)
    wait_until(lambda: redis.responds(socket_path), "Redis responds")
    yield process
    process.terminate()
    process.wait()


def test_only_this_user_can_open_the_socket(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "redis.sock").stat().st_mode) == 0o700
    assert psutil.Process(server.pid).net_connections(kind="inet") == []


def test_nothing_is_written_to_disk(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    server.terminate()
    server.wait()
    assert [path.name for path in tmp_path.iterdir() if path.name != "redis.sock"] == []


def test_a_server_replaces_the_socket_that_a_killed_one_left(
    server: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    server.kill()
    server.wait()
    socket_path = tmp_path / "redis.sock"
    assert socket_path.exists()
    assert not redis.responds(socket_path)
    again = subprocess.Popen(redis.command(socket_path), stdout=subprocess.DEVNULL)
    wait_until(lambda: redis.responds(socket_path), "Redis responds again")
    again.terminate()
    again.wait()


def test_without_a_server_there_is_no_response(tmp_path: Path) -> None:
    assert not redis.responds(tmp_path / "redis.sock")


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_the_systems_server_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    own = tmp_path / name
    own.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/nowhere")
    assert redis.command(tmp_path / "redis.sock")[0] == str(own)


def test_without_a_system_server_valkeylites_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis.command(tmp_path / "redis.sock")[0] == str(redis.bundled())
    assert os.access(redis.bundled(), os.X_OK)
