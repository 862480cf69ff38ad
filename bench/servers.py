"""The API, or another app, in a process of its own, for benchmarks of its throughput."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx

from shared.settings import Settings
from tests.support.waiting import wait_until


class Server(NamedTuple):
    """A web server in a process of its own."""

    url: str
    pid: int


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Run the API with these settings for the length of a `with` block; yields its URL."""
    with running_server("api.app:create_app", settings) as server:
        yield server.url


@contextmanager
def running_server(factory: str, settings: Settings) -> Iterator[Server]:
    """Run an app with these settings in uvicorn for the length of a `with` block, without an access log."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    environment = {
        **os.environ,
        "TRAINSHED_DATA_DIR": str(settings.data_dir),
        "TRAINSHED_DATABASE_URL": settings.database_url,
        "TRAINSHED_REDIS_URL": settings.redis_url,
        "TRAINSHED_RATE_LIMIT": str(settings.rate_limit),
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", factory, "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "error", "--no-access-log"], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(_responds(url), "the API responds", 60)
        yield Server(url, process.pid)
    finally:
        process.terminate()
        process.wait()


def _responds(url: str) -> Callable[[], bool]:
    def check() -> bool:
        try:
            return httpx.get(f"{url}/livez").is_success
        except httpx.TransportError:
            return False

    return check
