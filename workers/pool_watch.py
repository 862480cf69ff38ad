"""Notices that a pool process has ended, and takes its job from it, so that the job goes on at once.

If that is not possible, because the database is unavailable or this process is killed too, the job goes on
when its lease has expired.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

from sqlalchemy.exc import DBAPIError

from shared import log
from shared.db.engine import Database
from shared.settings import Settings
from shared.store import dispatch, recovery
from workers import attempt_trace, process_output
from workers.pool_process import process_id

_log = log.get_logger(__name__)

_INTERVAL_S = 0.1
# the database may commit the last transaction of a process a moment after the process has ended
_LOOKS = 4
_LOOK_INTERVAL_S = 0.5
_STOP_TIMEOUT_S = 1.0


@dataclass
class _Ended:
    """A process that has ended, whose job is to be taken from it.

    Attributes:
        output: the last lines that it printed.
        looks_left: how many more times its job is looked for; one that the database refuses does not count.
        next_look_at: the time of the next one.
        until: when its lease has expired, and every reconciler looks for the job.
    """

    owner: str
    reason: str
    output: str
    looks_left: int
    next_look_at: float
    until: float


class PoolWatch:
    """Thread of a worker's parent process that watches the pool.

    It has a thread of its own because a round of the reconciler may wait long for a slow Redis, and Celery's
    event loop does not run while Redis is unavailable.
    """

    def __init__(
        self,
        database: Database,
        waker: dispatch.Waker,
        settings: Settings,
        *,
        worker: str,
        processes: Callable[[], Iterable[Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; `processes` returns billiard's processes that are in the pool now."""
        self._database = database
        self._waker = waker
        self._settings = settings
        self._worker = worker
        self._processes = processes
        self._clock = clock
        self._running: dict[str, Any] = {}
        self._outputs: dict[str, IO[bytes]] = {}
        self._noticed: set[str] = set()
        self._ended: list[_Ended] = []
        self._stop_requested = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pool watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, unless it waits for the database."""
        self._stop_requested.set()
        self._thread.join(_STOP_TIMEOUT_S)

    def check(self) -> None:
        """Notice the processes that have ended since the last call, and take their jobs from them."""
        self._notice()
        for ended in list(self._ended):
            if self._clock() >= ended.next_look_at and self._is_done(ended):
                self._ended.remove(ended)

    def _run(self) -> None:
        while not self._stop_requested.wait(_INTERVAL_S):
            try:
                self.check()
            except Exception:
                # an unexpected error must not end this thread: later losses would be noticed late
                _log.exception("pool watch failed")

    def _notice(self) -> None:
        in_pool = {process.name: process for process in self._processes() if process.pid is not None}
        # Celery keeps a process that has ended in its pool for as long as its event loop does not run
        self._noticed &= in_pool.keys()
        self._running |= {name: each for name, each in in_pool.items() if name not in self._noticed}
        for name, process in list(self._running.items()):
            code = exit_code(process)
            self._adopt_output(name)
            if code is None:
                continue
            del self._running[name]
            self._noticed.add(name)
            now, lease_s = self._clock(), self._settings.lease_s
            owner = f"{self._worker}/{process_id(name)}"
            reason = f"pool process {process.pid} {how_it_ended(code)}"
            output = self._last_output(name)
            if output:
                _log.warning("last output of a process that has ended", reason=reason, output=output)
            self._ended.append(_Ended(owner, reason, output, _LOOKS, next_look_at=now, until=now + lease_s))

    def _adopt_output(self, name: str) -> None:
        if name not in self._outputs and (file := process_output.adopt(process_id(name))):
            self._outputs[name] = file

    def _last_output(self, name: str) -> str:
        file = self._outputs.pop(name, None)
        if file is None:
            return ""
        with file:
            return process_output.tail(file)

    def _is_done(self, ended: _Ended) -> bool:
        """Look for the job of a process that has ended; return whether no further look is needed."""
        take = partial(
            recovery.take_from,
            process=ended.owner,
            reason=ended.reason,
            output=ended.output,
            max_crashes=self._settings.max_crashes,
        )
        try:
            taken = self._database.write(take)
        except DBAPIError as error:
            _log.warning("job not taken from its process", process=ended.owner, error=str(error.orig))
            ended.next_look_at = self._clock() + _LOOK_INTERVAL_S
            return self._clock() >= ended.until
        for lost in taken:
            _log.warning("job taken from its process", process=ended.owner, reason=ended.reason)
            dispatch.wake(self._waker, {lost.queue: 1})
            attempt_trace.record_lost(lost)
        ended.looks_left -= 1
        ended.next_look_at = self._clock() + _LOOK_INTERVAL_S
        return bool(taken) or ended.looks_left == 0


def exit_code(process: Any) -> int | None:
    """Return how a child process has ended, as `subprocess` does: less than 0 for a signal; None if it runs.

    The process stays a zombie if it is one: Celery waits for it in another thread, and would miss its end.
    """
    code: int | None = process._popen.returncode if process._popen is not None else None
    if code is not None:
        return code
    try:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None  # Celery has just waited for it, and is about to set the code
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def how_it_ended(code: int) -> str:
    """Return how a process with this exit code ended, for people."""
    if code >= 0:
        return f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        return f"was killed by signal {-code} (out of memory?)"
    try:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was killed by signal {-code}"
