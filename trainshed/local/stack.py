"""The local stack: Redis, the API and a worker as child processes, which end when the stack does."""

import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from shared.settings import ExposedApi, Settings
from trainshed.client import Client, local_url, own_key
from trainshed.errors import ClientError, StackError
from trainshed.local import ports, redis
from trainshed.local.guardian import Guardian
from trainshed.local.lock import StackLock
from trainshed.local.processes import Program, environment

_START_S = 300.0  # TensorFlow's first start on a cold disk takes a minute
_PATIENT_S = 15.0  # after as long, people hear what is waited for
_LOOK_S = 0.1
_RESTARTS = 5  # as many in a minute are given up
_RESTARTS_WITHIN_S = 60.0


class LocalStack(AbstractContextManager["LocalStack"]):
    """Everything that jobs need, on this host, for the length of a `with` block.

    A program that ends by itself is started again. The programs' logs are under `DATA_DIR/logs`.
    """

    def __init__(self, settings: Settings, *, say: Callable[[str], None] = lambda _: None) -> None:
        """Prepare to start.

        Args:
            settings: of all its parts; where they name a Redis, that one is used and none is started.
            say: takes a line for people, each time something begins.
        """
        self.url = local_url(settings)
        self._settings = settings
        self._say = say
        self._programs: list[Program] = []
        self._stopping = threading.Event()
        self._failure: StackError | None = None
        self._keeper = threading.Thread(target=self._keep_running, name="stack", daemon=True)
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        """Start everything; when this returns, jobs that are submitted will run.

        Raises:
            StackRunning: a stack runs on the same data.
            StackError: something could not be started; its log is quoted.
        """
        require_guarded(self._settings)
        with ExitStack() as undo:
            lock = undo.enter_context(StackLock(self._settings.data_dir, self.url))
            ports.require_free(self._settings.host, self._settings.port)
            self._guardian = Guardian(lock.fileno())
            undo.callback(self._guardian.dismiss)
            self._start_all(undo)
            undo.callback(self._stop_keeper)
            self._keeper.start()
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything: the worker first, which gives its job back."""
        self._undo.close()

    def wait(self) -> None:
        """Wait until something cannot be kept running.

        Raises:
            StackError: what it was; its log is quoted.
        """
        self._keeper.join()
        if self._failure:
            raise self._failure

    def _start_all(self, undo: ExitStack) -> None:
        if not self._settings.redis_url:
            self._say("starting Redis")
            redis_socket = self._settings.redis_socket
            self._start("Redis", redis.command(redis_socket), 5.0, undo)
            self._wait_while(lambda: "" if redis.answers(redis_socket) else "Redis does not answer")
        self._say("bringing the database up to date")
        migrate(self._settings)
        self._say("starting the API and a worker")
        # -P: a folder named `api` or `workers` where the stack is started must not be taken for ours
        self._start("API", [sys.executable, "-P", "-m", "trainshed.cli.main", "api"], 10.0, undo)
        worker = self._start("worker", [sys.executable, "-P", "-m", "workers"], 30.0, undo)
        with Client(self.url, api_key=own_key(self._settings), patience_s=0) as server:
            self._wait_while(server.why_not_ready)
            self._say("waiting for the worker")
            self._wait_while(
                lambda: "" if _has_registered(worker, server) else "the worker has not registered"
            )

    def _start(self, name: str, command: list[str], grace_s: float, undo: ExitStack) -> Program:
        program = Program(
            name,
            command,
            log=self._settings.data_dir / "logs" / f"{name.lower()}.log",
            environment=environment(self._settings),
            grace_s=grace_s,
        )
        undo.callback(program.stop)
        program.start()
        self._guardian.watch(name, program.pid)
        self._programs.append(program)
        return program

    def _wait_while(self, what_lacks: Callable[[], str]) -> None:
        """Wait until it returns nothing."""
        began, told = monotonic(), False
        while lack := what_lacks():
            waited_s = monotonic() - began
            for program in self._programs:
                if how := program.ended():
                    raise StackError(_quoting(program, f"the {program.name} ended with {how} at its start"))
            if waited_s > _START_S:
                raise StackError(_quoting(self._programs[-1], f"{lack}, after {waited_s:,.0f} s"))
            if waited_s > _PATIENT_S and not told:
                self._say(f"still waiting: {lack}")
                told = True
            sleep(_LOOK_S)

    def _keep_running(self) -> None:
        restarts: deque[float] = deque(maxlen=_RESTARTS)
        while not self._stopping.wait(_LOOK_S):
            for program in self._programs:
                if not (how := program.ended()):
                    continue
                if len(restarts) == _RESTARTS and monotonic() - restarts[0] < _RESTARTS_WITHIN_S:
                    self._failure = StackError(_quoting(program, f"the {program.name} keeps ending ({how})"))
                    return
                self._say(f"the {program.name} ended with {how}: starting it again")
                program.restart()
                self._guardian.watch(program.name, program.pid)
                restarts.append(monotonic())

    def _stop_keeper(self) -> None:
        self._stopping.set()
        self._keeper.join()


def require_guarded(settings: Settings) -> None:
    """Raises StackError if others than this host's own programs would reach an API that asks for no key."""
    try:
        settings.require_guarded()
    except ExposedApi as error:
        raise StackError(str(error)) from error


def migrate(settings: Settings) -> None:
    """Bring the database's schema to the newest version.

    Raises:
        StackError: the database cannot be used.
    """
    # imported here: it takes half a second, and most commands do without
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from shared.db.engine import Database

    try:
        database = Database(settings.effective_database_url)
        database.migrate()
        database.dispose()
    except (SQLAlchemyError, CommandError, ImportError, OSError) as error:
        reason = str(getattr(error, "orig", error)).partition("\n")[0]
        raise StackError(f"the database {_database_name(settings)} cannot be used: {reason}") from error


def _database_name(settings: Settings) -> str:
    """The database's URL without its password."""
    from sqlalchemy import make_url  # as above
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(settings.effective_database_url).render_as_string(hide_password=True)
    except ArgumentError:
        return "of TRAINSHED_DATABASE_URL"


def _has_registered(worker: Program, server: Client) -> bool:
    try:
        workers = server.workers()
    except ClientError:
        return False
    # heard of since it was started: the row of a worker that was killed may have the same process id
    return any(
        one.pid == worker.pid and one.state == "online" and one.heartbeat_age_s < worker.age_s
        for one in workers
    )


def _quoting(program: Program, what: str) -> str:
    return f"{what}. Its log, {program.log}, ends with:\n{program.tail()}"
