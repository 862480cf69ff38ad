"""Watches the pool: renews leases, ends hung processes, and takes the jobs from processes that have ended.

A job that was taken can be claimed again at once. If it cannot be taken, because the database is unavailable
or this process is killed too, it can be claimed again when its lease has expired.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from shared import log
from shared.db.engine import Database
from shared.db.postgresql import bound_transaction
from shared.settings import Settings
from shared.store import dispatch, job_logs, recovery
from shared.store.transitions import AttemptId
from workers import attempt_trace, process_output
from workers.exits import exit_code, how_it_ended
from workers.leases import Leases
from workers.pool_process import process_id
from workers.pulse import PulseReader
from workers.step_watch import StepWatch

_log = log.get_logger(__name__)

_INTERVAL_S = 0.1
# the database may commit the last transaction of a process a moment after the process has ended
_LOOKS = 4
_LOOK_INTERVAL_S = 0.5
_STOP_TIMEOUT_S = 1.0
# bounds of the transaction that takes a job, which waits for the last transaction of the job's process
_LOCK_S, _IDLE_S, _TRANSACTION_S = 1.0, 2.0, 5.0
# how long a process may be silent after its lease would have expired, and while the worker is being stopped
_SILENCE_GRACE_S = 5.0


@dataclass
class _Running:
    """A process of the pool.

    Attributes:
        process: billiard's process object.
        output: the file that the process prints to, as soon as it exists.
        pulse: None until the process is ready for jobs.
        steps: watches the steps of the process's attempts; set together with `pulse`.
        ended_because: why the pool watch has ended the process; empty if it has not.
        attempt: the attempt that the process ran when the pool watch ended it.
    """

    process: Any
    output: IO[bytes] | None = None
    pulse: PulseReader | None = None
    steps: StepWatch | None = None
    ended_because: str = ""
    attempt: AttemptId | None = None

    def adopt(self, clock: Callable[[], float], watch: Callable[[PulseReader], StepWatch]) -> None:
        """Open the files that the process has made."""
        own_id = process_id(self.process.name)
        self.output = self.output or process_output.adopt(own_id)
        if self.pulse is None and (pulse := PulseReader.adopt(own_id, clock)) is not None:
            self.pulse, self.steps = pulse, watch(pulse)

    def close(self) -> str:
        """Close the files; return the last lines that the process printed."""
        if self.pulse is not None:
            self.pulse.close()
        if self.output is None:
            return ""
        with self.output:
            return process_output.tail(self.output)


@dataclass
class _Ended:
    """A process that has ended, whose job is to be taken from it.

    Attributes:
        output: the last lines that it printed.
        attempt: the attempt that it ran, if its parent has ended it, until the attempt's log says so.
        begun: the attempt that it ran when it ended, if its mark names one.
        looks_left: how many more looks for its job there are; one that the database refuses does not count.
        next_look_at: the time of the next look.
        until: the time when its lease has expired, so that every reconciler looks for the job.
    """

    owner: str
    reason: str
    output: str
    attempt: AttemptId | None
    begun: AttemptId | None
    looks_left: int
    next_look_at: float
    until: float


class PoolWatch:
    """Thread of a worker's parent process that watches the pool.

    It has a connection and a thread of its own because a round of the reconciler may take long, as with a
    slow Redis, and Celery's event loop does not run while Redis is unavailable.
    """

    def __init__(
        self,
        database: Database,
        waker: dispatch.Waker,
        settings: Settings,
        *,
        worker: str,
        processes: Callable[[], Iterable[Any]],
        draining: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
        kill: Callable[[int, int], None] = os.kill,
    ) -> None:
        """Prepare; tests replace `clock` and `kill`.

        Args:
            database: used by this thread only, which tries again by itself.
            waker: wakes workers up for jobs that were taken from their processes.
            settings: the settings of this worker.
            worker: the worker's name.
            processes: returns billiard's processes that are in the pool now.
            draining: called often, with whether the worker drains.
        """
        self._database = database
        self._waker = waker
        self._settings = settings
        self._worker = worker
        self._processes = processes
        self._clock = clock
        self._send = kill
        self._is_stopping = False
        self._leases = Leases(database, settings, worker=worker, draining=draining, clock=clock)
        no_progress_s = settings.no_progress_s
        self._watch = partial(StepWatch, database=database, no_progress_s=no_progress_s, clock=clock)
        self._running: dict[str, _Running] = {}
        self._noticed: set[str] = set()
        self._ended: list[_Ended] = []
        self._stop_requested = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pool watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end_what_cannot_stop(self) -> None:
        """From now on, end each process that is not ready for jobs, and each that is silent for seconds.

        The stop signal reaches neither kind, and Celery still replaces ended processes for a moment.
        """
        self._is_stopping = True

    def stop(self) -> None:
        """End the thread, unless it waits for the database, and processes that ended ones left running."""
        self._stop_requested.set()
        self._thread.join(_STOP_TIMEOUT_S)
        if not self._thread.is_alive():
            self._notice()

    def check(self) -> None:
        """Renew the leases of running processes, end hung processes, and take the jobs of ended ones."""
        self._notice()
        self._end_silent()
        self._leases.keep([each.pulse for each in self._running.values() if each.pulse is not None])
        self._end_hung()
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
        for name in in_pool.keys() - self._noticed - self._running.keys():
            self._running[name] = _Running(in_pool[name])
        for name, running in list(self._running.items()):
            code = exit_code(running.process)
            running.adopt(self._clock, self._watch)
            if code is None:
                continue
            del self._running[name]
            self._noticed.add(name)
            self._kill(-running.process.pid)  # its group: the processes that it has started
            self._remember(running, code)

    def _remember(self, running: _Running, code: int) -> None:
        """Register a process that has ended, so that its job is looked for."""
        now, lease_s = self._clock(), self._settings.lease_s
        owner = f"{self._worker}/{process_id(running.process.name)}"
        how = running.ended_because or how_it_ended(code)
        reason = f"pool process {running.process.pid} {how}"
        mark = running.pulse.mark() if running.pulse else None
        output = running.close()
        if output:
            _log.warning("last output of a process that has ended", reason=reason, output=output)
        ended = _Ended(
            owner,
            reason,
            output,
            attempt=running.attempt,
            begun=mark.attempt if mark else None,
            looks_left=_LOOKS,
            next_look_at=now,
            until=now + lease_s,
        )
        self._ended.append(ended)

    def _end_silent(self) -> None:
        """End the processes in which nothing runs: they cannot notice that themselves, nor obey a signal."""
        limit_s = _SILENCE_GRACE_S + (0.0 if self._is_stopping else self._settings.lease_s)
        for running in self._running.values():
            if running.pulse is None:
                if self._is_stopping and not running.ended_because:
                    self._end(running, "was ended, because the worker stops and it was not ready for jobs")
                continue
            silence_s = running.pulse.look()
            if silence_s > limit_s and not running.ended_because:
                because = f"was ended, because it has not run for {silence_s:.0f} s"
                self._end(running, f"{because}: it was stopped, or code that is not Python's blocks it")

    def _end_hung(self) -> None:
        """End the processes whose steps do not return, after reporting the ends of their attempts."""
        for running in self._running.values():
            if running.steps is not None and not running.ended_because:
                because = running.steps.look(is_stopping=self._is_stopping)
                if because:
                    self._end(running, f"was ended, because {because}")

    def _end(self, running: _Running, because: str) -> None:
        running.ended_because = because
        mark = running.pulse.mark() if running.pulse else None
        running.attempt = attempt = mark.attempt if mark else None
        pid = running.process.pid
        log_it = _log.info if self._is_stopping else _log.error
        log_it(f"pool process {pid} {because}", pid=pid, attempt=str(attempt) if attempt else None)
        self._kill(pid)  # it may not have a group of its own yet
        self._kill(-pid)

    def _kill(self, pid: int) -> None:
        with suppress(ProcessLookupError, PermissionError):  # the process or group has ended
            self._send(pid, signal.SIGKILL)

    def _is_done(self, ended: _Ended) -> bool:
        """Look for the job of a process that has ended; return whether no further look is needed."""
        try:
            taken = self._database.write(partial(self._take, ended=ended))
        except DBAPIError as error:
            _log.warning("job not taken from its process", process=ended.owner, error=str(error.orig))
            ended.next_look_at = self._clock() + _LOOK_INTERVAL_S
            return self._clock() >= ended.until
        for lost in taken:
            _log.warning("job taken from its process", process=ended.owner, reason=ended.reason)
            attempt_trace.record_lost(lost)
        if taken:
            dispatch.wake(self._waker, Counter(lost.queue for lost in taken))
        ended.looks_left -= 1
        ended.attempt = None
        ended.next_look_at = self._clock() + _LOOK_INTERVAL_S
        return bool(taken) or ended.looks_left == 0

    def _take(self, session: Session, ended: _Ended) -> list[recovery.LostAttempt]:
        # bounded, because this thread also renews the leases of the other processes
        bound_transaction(session, lock_s=_LOCK_S, idle_s=_IDLE_S, total_s=_TRANSACTION_S)
        taken = recovery.take_from(
            session,
            process=ended.owner,
            reason=ended.reason,
            output=ended.output,
            begun=ended.begun,
            max_lost_attempts=self._settings.max_lost_attempts,
        )
        if ended.attempt is not None and not taken:
            job_logs.append_if_lost(session, ended.attempt, f"its {ended.reason}")
        return taken
