"""Trainshed's processes for benchmarks: the API or another app, and workers."""

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

ROOT = os.path.dirname(os.path.dirname(__file__))
"""The folder of the source tree, from which every process imports the packages."""


_START_TIMEOUT_S = 300.0  # with TensorFlow on a busy machine


class Server(NamedTuple):
    """A web server in a process of its own."""

    url: str
    pid: int


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Run the API with these settings for the length of a `with` block; yield its URL."""
    with running_server("api.app:create_app", settings) as server:
        yield server.url


@contextmanager
def running_server(factory: str, settings: Settings) -> Iterator[Server]:
    """Run an app with these settings in uvicorn for the length of a `with` block, without an access log."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--factory", factory, "--port", str(port)]
    command += ["--log-level", "error", "--no-access-log", "--http", "api.http.connections:Connection"]
    with _running(command, settings) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(_responds(url), "the API responds", _START_TIMEOUT_S)
        yield Server(url, process.pid)


@contextmanager
def running_worker(settings: Settings) -> Iterator[int]:
    """Run a worker for the length of a `with` block, and yield its pid when all its slots are ready."""
    log = settings.data_dir / "worker.log"
    log.unlink(missing_ok=True)
    with starting_worker(settings) as process:

        def ready() -> bool:
            assert process.poll() is None, f"the worker ended:\n{log.read_text()}"
            return log.read_text().count("ready for jobs") >= settings.slots

        wait_until(ready, "the worker is ready", _START_TIMEOUT_S)
        yield process.pid


@contextmanager
def starting_worker(settings: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker for the length of a `with` block, without waiting for it; it logs to `DATA_DIR`."""
    with _running([sys.executable, "-m", "workers"], settings) as process:
        yield process


def variables(settings: Settings) -> dict[str, str]:
    """Return the environment variables with which a process has these settings."""
    values = settings.model_dump(mode="json", include=settings.model_fields_set)
    return {
        f"TRAINSHED_{name.upper()}": ",".join(value) if isinstance(value, list) else str(value)
        for name, value in values.items()
    }


@contextmanager
def _running(command: list[str], settings: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    with (settings.data_dir / "worker.log").open("ab") as log:
        output = log if "workers" in command else None
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **variables(settings)}, stdout=output, stderr=output
        )
    try:
        yield process
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
