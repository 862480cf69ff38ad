"""Keeps an attempt's lease while its job runs, and learns that the attempt must end."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import copy_context
from types import TracebackType
from typing import Self

from sqlalchemy.exc import DBAPIError

from shared import log
from shared.errors import (
    AttemptInterrupted,
    CancelRequested,
    LeaseLost,
    MaxRuntimeExceeded,
    StaleAttempt,
    StopRequested,
)
from shared.store import attempts
from shared.store.transitions import AttemptFailure, AttemptId
from workers.pool_process import PoolProcess

_log = log.get_logger(__name__)

# how long a step may still run once the time limit has passed before its process is ended
_GRACE_S = 5.0
# how long a step may go on before its cancelled job is reported without it
_CANCEL_GRACE_S = 0.7


class Heartbeat(AbstractContextManager["Heartbeat"]):
    """A thread that renews one attempt's lease on a connection of its own, and looks for a cancel request.

    The thread that runs the job calls `check` after each step. If it does not come back from a step, the
    heartbeat reports the attempt as failed and ends the process: no other way ends a computation that hangs.
    """

    def __init__(
        self,
        process: PoolProcess,
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
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._beat,), name=f"heartbeat of {attempt}", daemon=True
        )
        self._done = threading.Event()
        self._in_steps = True
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
            self._renew_or_leave()
        if self._overdue() > 0:
            raise self._overtime()

    def no_more_steps(self) -> None:
        """Say that only the report is left, which takes as long as the database is away: it is no hang."""
        self._in_steps = False

    def _renew_or_leave(self) -> None:
        # the machine slept, or was too busy for the other thread: the job may still be this attempt's
        try:
            self._renew()
        except DBAPIError as error:
            overdue = time.monotonic() - self._renewed
            raise LeaseLost(f"the lease could not be renewed for {overdue:.0f} s") from error

    def _beat(self) -> None:
        while not self._done.wait(self._settings.cancel_poll_s):
            try:
                if self._interruption is None:
                    self._look()
            except DBAPIError as error:
                _log.warning("the lease was not renewed", error=str(error.orig))
            except StaleAttempt as error:
                self._interruption = error
            if self._in_steps:
                self._end_if_hung()

    def _look(self) -> None:
        if time.monotonic() - self._renewed >= self._settings.heartbeat_s:
            cancelled = self._renew()
        else:
            cancelled = self._database.read(
                lambda session: attempts.is_cancel_requested(session, self._attempt)
            )
        if cancelled:
            self._interruption = CancelRequested("a user cancelled the job")
            # the user need not wait for a step that is slow to end, such as a download that stalls
            if not self._done.wait(_CANCEL_GRACE_S):
                self._database.write(lambda session: attempts.cancel_attempt(session, self._attempt))

    def _renew(self) -> bool:
        before = time.monotonic()
        cancelled = self._database.write(
            lambda session: attempts.renew(session, self._attempt, lease_s=self._settings.lease_s)
        )
        self._renewed = before
        return cancelled

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
            self._database.write(
                lambda session: attempts.fail(session, self._attempt, failure, retry_in_s=None)
            )
        except (DBAPIError, StaleAttempt) as reason:
            _log.warning("the hung attempt was not reported", error=str(reason))
        self._exit_process(os.EX_SOFTWARE)
