"""A real stack for tests of the pages: the API as a process, on SQLite and a real Redis; and workers."""

import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from shared.db.engine import Database
from shared.schemas import Scope
from shared.settings import Settings
from shared.store.change_feed import ChangePublisher
from tests.support import registry
from tests.support.databases import EMPTYING, open_database
from tests.support.factories import make_settings
from tests.support.paths import ROOT
from tests.support.servers import NO_TLS, running_redis
from tests.support.waiting import wait_until
from trainshed.local import ports
from trainshed.local.processes import Program, environment

HOST = "127.0.0.1"
STUB = "tests.support.stub_executor:StubExecutor"

_START_TIMEOUT_S = 60.0


class WebStack:
    """The stack of a test session.

    Attributes:
        url: the address of the pages.
        database: its database, open in the tests' process; changes are announced as those of workers are.
        api: the API's process, which tests may stop and start again on the same port.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.url = f"http://{settings.host}:{settings.port}"
        self.api = self._program("API", [sys.executable, "-P", "-m", "trainshed.cli.main", "api"], settings)

    def start(self) -> None:
        """Start the API, and wait until it responds."""
        self.api.start()
        self._wait_until_ready()

    def kill(self) -> None:
        """Kill the API (SIGKILL)."""
        os.kill(self.api.pid, signal.SIGKILL)

    def restart(self) -> None:
        """Start the API again on its port, and wait until it responds."""
        self.api.restart()
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        wait_until(self._responds, f"the API responds at {self.url}", _START_TIMEOUT_S)

    def reset(self) -> None:
        """Delete all that the database holds."""
        path = self.settings.database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=10)) as connection:
            connection.executescript(f"BEGIN; {'; '.join(EMPTYING)}; COMMIT")

    def new_key(self, scope: Scope) -> str:
        """Store a new API key with a scope, and return it."""
        return str(registry.api_key(self.database, f"a {scope} key", scope))

    @contextmanager
    def worker(self, **settings: Any) -> Iterator[Program]:
        """Run a worker, with the stub executor unless `executor=` names another one."""
        own = self.settings.model_copy(update=settings)
        worker = self._program("worker", [sys.executable, "-P", "-m", "workers"], own)
        worker.start()
        try:
            yield worker
        finally:
            worker.stop()

    def _program(self, name: str, command: list[str], settings: Settings) -> Program:
        variables = {**environment(settings), "PYTHONPATH": str(ROOT)}
        log = settings.data_dir / f"{name.lower()}.log"
        return Program(name, command, log=log, environment=variables, grace_s=10.0)

    def _responds(self) -> bool:
        """Whether this API responds, and not another program that has taken the port meanwhile."""
        try:
            connections = psutil.Process(self.api.pid).net_connections("tcp")
        except psutil.NoSuchProcess:
            return False
        if not any(
            each.status == psutil.CONN_LISTEN and each.laddr.port == self.settings.port
            for each in connections
        ):
            return False
        try:
            return httpx.get(f"{self.url}/livez", verify=NO_TLS).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@contextmanager
def running_web_stack(
    folder: Path, new_sqlite: Callable[[Path], str], **overrides: Any
) -> Iterator[WebStack]:
    """Run a stack in a folder for the length of a `with` block, with settings of the test's; no worker."""
    with ExitStack() as cleanup:
        redis = cleanup.enter_context(running_redis())
        values = {"port": ports.find_free(HOST), "executor": STUB, "reconcile_s": 0.5, "rate_limit": 0.0}
        values |= {"database_url": new_sqlite(folder), "redis_url": redis.url, **overrides}
        settings = make_settings(folder, **values)
        publisher = cleanup.enter_context(closing(ChangePublisher(settings)))
        database = cleanup.enter_context(open_database(settings.database_url, committed=publisher))
        stack = WebStack(settings, database)
        stack.start()
        cleanup.callback(stack.api.stop)
        yield stack
