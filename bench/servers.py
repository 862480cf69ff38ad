"""The API in a process of its own, as users run it, for benchmarks of its throughput."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from shared.settings import Settings
from tests.support.waiting import wait_until


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Run the API with these settings for the length of a `with` block; yields its URL."""
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
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.app:create_app", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "error"], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(_responds(url), "the API responds", 60)
        yield url
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
