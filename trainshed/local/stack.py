"""The local stack: Redis, the API and a worker as child processes, which end with the stack."""

import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from time import monotonic, sleep
from typing import Self

from shared.settings import ExposedApi, Settings
from trainshed.async_client import local_url
from trainshed.client import Client
from trainshed.errors import StackError
from trainshed.local import database, ports, redis
from trainshed.local.guardian import Guardian
from trainshed.local.lock import stack_lock
from trainshed.local.processes import Program, environment

_START_TIMEOUT_S = 300.0  # TensorFlow's first start from a cold disk takes a minute
_NOTICE_AFTER_S = 15.0  # waiting for longer is reported, with the reason
_POLL_INTERVAL_S = 0.1
_MAX_RESTARTS = 5
_RESTARTS_WINDOW_S = 60.0


class LocalStack(AbstractContextManager["LocalStack"]):
    """All the services that jobs need, run on this host for the duration of a `with` block.

    With a `REDIS_URL`, no Redis is started. A program that ends by itself is restarted. The programs' logs
    are in `DATA_DIR/logs`.
    """

    def __init__(self, settings: Settings, *, report: Callable[[str], None] = lambda _: None) -> None:
        """Prepare to start; `report` is called with a line for people at each step."""
        self.url = local_url(settings)
        # a failed download of the dataset counts at once, so that a new user soon sees the error
        at_once = {} if "data_outage_s" in settings.model_fields_set else {"data_outage_s": 0.0}
        self._settings = settings.model_copy(update=at_once)
        self._report = report
        self._programs: list[Program] = []
        self._stopping = threading.Event()
        self._failure: StackError | None = None
        self._supervisor = threading.Thread(target=self._supervise, name="stack", daemon=True)
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        """Start every program, and wait until submitted jobs will run.

        Raises:
            StackRunning: another stack runs on the same data.
            UsageError: this version of Trainshed is too old for the database.
            StackError: a program cannot be started; the message quotes its log.
        """
        try:
            self._settings.require_guarded()
        except ExposedApi as error:
            raise StackError(str(error)) from error
        with ExitStack() as cleanup:
            lock_fd = cleanup.enter_context(stack_lock(self._settings.data_dir, self.url))
            ports.require_free(self._settings.host, self._settings.port)
            self._guardian = Guardian(lock_fd)
            cleanup.callback(self._guardian.dismiss)
            self._start_all(cleanup)
            cleanup.callback(self._stop_supervisor)
            self._supervisor.start()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop every program, first the worker, which releases its job."""
        self._cleanup.close()

    def wait(self) -> None:
        """Wait until a program cannot be kept running.

        Raises:
            StackError: a program keeps ending; the message names it and quotes its log.
        """
        self._supervisor.join()
        if self._failure:
            raise self._failure

    def _start_all(self, cleanup: ExitStack) -> None:
        if not self._settings.redis_url:
            self._report("starting Redis")
            redis_socket = self._settings.redis_socket
            self._start("Redis", redis.command(redis_socket), 5.0, cleanup)
            self._wait_while(lambda: "" if redis.responds(redis_socket) else "Redis does not respond")
        self._report("migrating the database")
        database.migrate(self._settings, self._report)
        self._report("starting the API and a worker")
        # -P: a folder named `api` or `workers` in the current directory must not be imported instead
        self._start("API", [sys.executable, "-P", "-m", "trainshed.cli.main", "api"], 10.0, cleanup)
        worker = self._start("worker", [sys.executable, "-P", "-m", "workers"], 30.0, cleanup)
        with Client(self.url, api_key="", patience_s=0) as server:
            self._wait_while(lambda: server.health().lacks)
        self._report("waiting for the worker")
        # read from the database, since the API may require a key that a user has created
        with database.opened(self._settings) as opened:
            self._wait_while(lambda: database.unregistered(opened, worker.pid, worker.age_s))

    def _start(self, name: str, command: list[str], grace_s: float, cleanup: ExitStack) -> Program:
        log, variables = self._settings.data_dir / "logs" / f"{name.lower()}.log", environment(self._settings)
        program = Program(name, command, log=log, environment=variables, grace_s=grace_s)
        cleanup.callback(program.stop)
        program.start()
        self._guardian.watch(name, program.pid)
        self._programs.append(program)
        return program

    def _wait_while(self, obstacle: Callable[[], str]) -> None:
        """Wait until `obstacle` returns an empty text; fail if a program ends or the time is up."""
        began, noticed = monotonic(), False
        while reason := obstacle():
            waited_s = monotonic() - began
            for program in self._programs:
                if exit_reason := program.exit_reason():
                    raise _failure(program, f"the {program.name} ended with {exit_reason} at its start")
            if waited_s > _START_TIMEOUT_S:
                raise _failure(self._programs[-1], f"{reason}, after {waited_s:,.0f} s")
            if waited_s > _NOTICE_AFTER_S and not noticed:
                self._report(f"still waiting: {reason}")
                noticed = True
            sleep(_POLL_INTERVAL_S)

    def _supervise(self) -> None:
        """Restart programs that end, until the stack stops or a program keeps ending."""
        restarts: deque[float] = deque(maxlen=_MAX_RESTARTS)
        while not self._stopping.wait(_POLL_INTERVAL_S):
            for program in self._programs:
                if not (reason := program.exit_reason()):
                    continue
                if len(restarts) == _MAX_RESTARTS and monotonic() - restarts[0] < _RESTARTS_WINDOW_S:
                    self._failure = _failure(program, f"the {program.name} keeps ending ({reason})")
                    return
                self._report(f"the {program.name} ended with {reason}: restarting it")
                program.restart()
                self._guardian.watch(program.name, program.pid)
                restarts.append(monotonic())

    def _stop_supervisor(self) -> None:
        self._stopping.set()
        self._supervisor.join()


def _failure(program: Program, reason: str) -> StackError:
    return StackError(f"{reason}. Its log, {program.log}, ends with:\n{program.tail()}")
