"""The heartbeat of an attempt: renews its lease while the job runs, and detects that the attempt must end."""

import os
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Self

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from shared import errors, log, tracing
from shared.lifecycle import AttemptOutcome
from shared.store import attempts
from shared.store.known_turns import Settlement
from shared.store.transitions import AttemptFailure, AttemptId
from workers.pending import PendingProgress
from workers.pool_process import PoolProcess

_log = log.get_logger(__name__)

# how long a step may go on after the time limit before its process is ended
_TIMEOUT_GRACE_S = 5.0
# how long a step may go on after a cancel request before the heartbeat itself ends the job
_CANCEL_GRACE_S = 0.7
# how long a step may go on after the attempt was interrupted before its process is ended
_INTERRUPTION_GRACE_S = 5.0


Ended = Callable[[AttemptOutcome, AttemptFailure | None], None]


class Heartbeat:
    """Thread that renews an attempt's lease on its own connection; runs within a `with` block.

    It also writes progress that is pending while a step lasts long, so that people see it.

    The thread that runs the job calls `check` after each step. If a step does not return, the heartbeat
    reports how the attempt ends, in place of that thread, and ends the process: there is no other way to end
    a computation that hangs.
    """

    def __init__(
        self,
        process: PoolProcess,
        attempt: AttemptId,
        pending: PendingProgress,
        *,
        max_runtime_s: float | None = None,
        ended: Ended = lambda _outcome, _failure: None,
        exit_process: Callable[[int], None] = os._exit,
    ) -> None:
        """Prepare; the thread starts with the `with` block. Tests replace `exit_process`.

        Args:
            ended: called when this has reported the end of the attempt in place of the thread that runs it.
        """
        self._database = process.heartbeat_database
        self._settings = process.settings
        self._turns = process.turns
        self._stop = process.stop
        self._attempt = attempt
        self._pending = pending
        self._ended = ended
        self._exit_process = exit_process
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=f"heartbeat of {attempt}", daemon=True
        )
        self._done = threading.Event()
        self._reporting = False
        self._interruption: errors.AttemptInterrupted | None = None
        self._interrupted_at: float | None = None
        self._renewed_at = self._last_step_at = time.monotonic()
        self._max_runtime_s = float("inf") if max_runtime_s is None else max_runtime_s
        self._deadline = time.monotonic() + self._max_runtime_s

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def check(self) -> None:
        """Record that a step is finished, and raise if the attempt must end.

        Raises:
            AttemptInterrupted: a user cancelled the job, the worker is being stopped, or the lease is lost.
            MaxRuntimeExceeded: the attempt has run for longer than the job allows.
        """
        self._last_step_at = time.monotonic()
        if self._interruption is not None:
            raise self._interruption
        if self._stop.is_set():
            raise errors.StopRequested("the worker is being stopped")
        # well before the lease expires, so that two attempts never run at once for long
        if self._last_step_at - self._renewed_at > self._settings.lease_s * 2 / 3:
            self._renew_or_raise()
        if time.monotonic() > self._deadline:
            raise self._max_runtime_exceeded()

    def begin_report(self) -> None:
        """Expect no more steps: a report that lasts as long as an outage of the database is not a hang."""
        self._reporting = True

    def _renew_or_raise(self) -> None:
        # the machine was suspended, or too busy for the heartbeat thread: the job may still be this attempt's
        try:
            self._renew()
        except DBAPIError as error:
            elapsed = time.monotonic() - self._renewed_at
            raise errors.LeaseLost(f"the lease could not be renewed for {elapsed:.0f} s") from error

    def _run(self) -> None:
        is_failing = False
        while not self._done.wait(self._settings.cancel_poll_s):
            try:
                if self._interruption is None:
                    self._renew_or_poll()
                if self._interruption is None:
                    self._pending.write_if_due(self._database)
                is_failing = False
            except DBAPIError as error:
                if not is_failing:  # once an outage, which may be a full disk
                    _log.warning("heartbeats fail", error=str(error.orig))
                is_failing = True
            except errors.StaleAttempt as error:
                self._interruption = error
            if not self._reporting:
                self._exit_if_hung()

    def _renew_or_poll(self) -> None:
        if time.monotonic() - self._renewed_at >= self._settings.heartbeat_s:
            cancel_requested = self._renew()
        else:
            poll = partial(attempts.is_cancel_requested, attempt=self._attempt)
            cancel_requested = self._database.read(poll)
        if cancel_requested:
            self._interruption = errors.CancelRequested("a user cancelled the job")
            # the user need not wait for a step that ends late, such as a download that stalls
            if not self._done.wait(_CANCEL_GRACE_S):
                self._database.write(partial(attempts.cancel_attempt, attempt=self._attempt))
                self._ended(AttemptOutcome.CANCELLED, None)

    def _renew(self) -> bool:
        before = time.monotonic()
        self._turns.grow()
        with self._turns.settling() as settlement:
            cancel_requested = self._database.write(partial(self._renew_and_settle, settlement))
        self._renewed_at = before
        return cancel_requested

    def _renew_and_settle(self, settlement: Settlement, session: Session) -> bool:
        cancel_requested = attempts.renew(session, self._attempt, lease_s=self._settings.lease_s)
        settlement.write(session)
        return cancel_requested

    def _max_runtime_exceeded(self) -> errors.MaxRuntimeExceeded:
        return errors.MaxRuntimeExceeded(
            f"the attempt ran for longer than max_runtime_s, {self._max_runtime_s:g}: "
            "give the job more time, or less to do"
        )

    def _exit_if_hung(self) -> None:
        now = time.monotonic()
        if self._interrupted_at is None and (self._interruption is not None or self._stop.is_set()):
            self._interrupted_at = now
        if self._interrupted_at is not None and now > self._interrupted_at + _INTERRUPTION_GRACE_S:
            is_cancelled = isinstance(self._interruption, errors.CancelRequested)
            # while the database is unavailable, it may be what the step waits for: the next round tries again
            if self._report_in_place(
                attempts.cancel_attempt if is_cancelled else attempts.release,
                AttemptOutcome.CANCELLED if is_cancelled else AttemptOutcome.RELEASED,
            ):
                self._exit("it was interrupted")
        elif now > self._deadline + _TIMEOUT_GRACE_S:
            self._fail_and_exit(self._max_runtime_exceeded())
        elif now - self._last_step_at > self._settings.no_progress_s:
            reason = f"no step was finished for {self._settings.no_progress_s:g} s"
            self._fail_and_exit(errors.MaxRuntimeExceeded(reason))

    def _fail_and_exit(self, error: errors.MaxRuntimeExceeded) -> None:
        failure = AttemptFailure(error.code, str(error))
        report = partial(attempts.fail, failure=failure, retry_in_s=None)
        if not self._report_in_place(report, AttemptOutcome.FAILED, failure):
            _log.warning("hung attempt not reported")
        self._exit(str(error))

    def _report_in_place(
        self,
        report: Callable[[Session, AttemptId], None],
        outcome: AttemptOutcome,
        failure: AttemptFailure | None = None,
    ) -> bool:
        """Report in place of the thread that runs the job; return False if the database is unavailable."""
        try:
            self._database.write(lambda session: report(session, self._attempt))
            self._ended(outcome, failure)
        except errors.StaleAttempt as error:
            _log.info("hung attempt has ended already", reason=str(error))
        except DBAPIError:
            return False
        return True

    def _exit(self, reason: str) -> None:
        _log.error("step hangs, ending this pool process", reason=reason)
        tracing.stop()
        self._exit_process(os.EX_SOFTWARE)
