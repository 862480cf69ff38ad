"""Keeps an attempt's lease while its job runs, and learns that the attempt must end."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from sqlalchemy.exc import DBAPIError

from shared import jobs, log
from shared.errors import (
    AttemptInterrupted,
    CancelRequested,
    LeaseLost,
    MaxRuntimeExceeded,
    StaleAttempt,
    StopRequested,
)
from shared.transitions import AttemptFailure, AttemptId
from workers.process import Process

_log = log.get_logger(__name__)

# how long a step may still run once the time limit has passed before its process is ended
_GRACE_S = 5.0


class Heartbeat(AbstractContextManager["Heartbeat"]):
    """A thread that renews one attempt's lease on a connection of its own, and looks for a cancel request.

    The thread that runs the job calls `check` after each step. If it does not come back from a step, the
    heartbeat reports the attempt as failed and ends the process: no other way ends a computation that hangs.
    """

    def __init__(
        self,
        process: Process,
        attempt: AttemptId,
        *,
        max_runtime_s: float | None = None,
        exit_process: Callable[[int], None] = os._exit,
    ) -> None:
        """Prepare; the thread starts with the `with` block.

        Args:
            max_runtime_s: how long the attempt may run.
            exit_process: ends this process; another one is for tests.
        """
        self._database = process.heartbeat_database
        self._settings = process.settings
        self._stop = process.stop
        self._attempt = attempt
        self._exit_process = exit_process
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat of {attempt}", daemon=True)
        self._done = threading.Event()
        self._interruption: AttemptInterrupted | None = None
        self._started = self._renewed = self._progressed = time.monotonic()
        self._max_runtime_s = max_runtime_s

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def check(self) -> None:
        """Say that a step is done.

        Raises:
            AttemptInterrupted: a user cancelled the job, the worker stops, or the lease is lost.
            MaxRuntimeExceeded: the attempt has run for longer than the job allows.
        """
        self._progressed = time.monotonic()
        if self._interruption is not None:
            raise self._interruption
        if self._stop.is_set():
            raise StopRequested("the worker is being stopped")
        # well before the lease ends, so that two attempts never run at once for long
        if self._progressed - self._renewed > self._settings.lease_s * 2 / 3:
            raise LeaseLost(f"the lease could not be renewed for {self._progressed - self._renewed:.0f} s")
        if self._overdue() > 0:
            raise self._overtime()

    def _beat(self) -> None:
        while not self._done.wait(self._settings.cancel_poll_s):
            try:
                self._look()
            except AttemptInterrupted as interruption:
                self._interruption = interruption
                return
            except DBAPIError as error:
                _log.warning("the lease was not renewed", error=str(error.orig))
            self._end_if_hung()

    def _look(self) -> None:
        before = time.monotonic()
        if before - self._renewed >= self._settings.heartbeat_s:
            cancelled = self._database.write(
                lambda session: jobs.renew(session, self._attempt, lease_s=self._settings.lease_s)
            )
            self._renewed = before
        else:
            cancelled = self._database.read(lambda session: jobs.is_cancel_requested(session, self._attempt))
        if cancelled:
            raise CancelRequested("a user cancelled the job")

    def _overdue(self) -> float:
        if self._max_runtime_s is None:
            return float("-inf")
        return time.monotonic() - self._started - self._max_runtime_s

    def _overtime(self) -> MaxRuntimeExceeded:
        return MaxRuntimeExceeded(
            f"the attempt ran for longer than max_runtime_s, {self._max_runtime_s:g}: "
            "give the job more time, or less to do"
        )

    def _end_if_hung(self) -> None:
        if self._overdue() > _GRACE_S:
            error = self._overtime()
        elif time.monotonic() - self._progressed > self._settings.no_progress_s:
            error = MaxRuntimeExceeded(f"no step was finished for {self._settings.no_progress_s:g} s")
        else:
            return
        _log.error("a step hangs: this process ends", error=str(error))
        try:
            failure = AttemptFailure(error.code, str(error))
            self._database.write(lambda session: jobs.fail(session, self._attempt, failure, retry_in_s=None))
        except (DBAPIError, StaleAttempt) as reason:
            _log.warning("the hung attempt was not reported", error=str(reason))
        self._exit_process(os.EX_SOFTWARE)
