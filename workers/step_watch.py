"""Ends attempts whose step does not return: reports their outcome in place of their pool process.

A hung computation can only be ended by ending its process, which the pool watch does then.
"""

import time
from collections.abc import Callable
from functools import partial

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from shared import log, tracing
from shared.db.engine import Database
from shared.db.postgresql import bound_transaction
from shared.errors import MaxRuntimeExceeded, StaleAttempt
from shared.lifecycle import AttemptOutcome
from shared.store import attempts
from shared.store.transitions import AttemptFailure, AttemptId
from workers import attempt_trace
from workers.marks import Mark
from workers.pulse import PulseReader

_log = log.get_logger(__name__)

# how long a step may go on after the time limit before its process is ended
_TIMEOUT_GRACE_S = 5.0
# how long a step may go on after a cancel request before the job ends without it
_CANCEL_GRACE_S = 0.7
# how long a step may go on after the attempt was interrupted before its process is ended
_INTERRUPTION_GRACE_S = 5.0
_REPORT_INTERVAL_S = 0.5  # between two reports while the database is unavailable
_MAX_LOOK_S = 1.0  # most that one look adds to a time: this process may have been suspended with its pool
# bounds of a report: the process may be stopped within a transaction, and other leases must be renewed
_LOCK_S, _IDLE_S, _TRANSACTION_S = 0.5, 2.0, 5.0

_Report = Callable[[Session, AttemptId], None]


class StepWatch:
    """Watches the steps of a pool process, in the worker's parent."""

    def __init__(
        self,
        pulse: PulseReader,
        database: Database,
        *,
        no_progress_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pulse = pulse
        self._database = database
        self._no_progress_s = no_progress_s
        self._clock = clock
        self._looked_at = clock()
        self._mark = Mark()
        self._next_report_at = clock()
        self._begin()

    def _begin(self) -> None:
        """Reset the times, because another attempt runs."""
        self._stepless_s = self._interrupted_s = self._overdue_s = 0.0
        self._is_cancelled = False

    def look(self, *, is_stopping: bool) -> str:
        """Return why the process must be ended now, empty if it need not; call this often.

        Args:
            is_stopping: whether the worker is being stopped.
        """
        now = self._clock()
        passed_s, self._looked_at = min(now - self._looked_at, _MAX_LOOK_S), now
        before, mark = self._mark, self._pulse.mark()
        if mark is None:
            return ""
        self._mark, attempt, orders = mark, mark.attempt, self._pulse.orders
        if attempt != before.attempt or mark.is_reporting or attempt is None:
            self._begin()
            return ""
        cancelled = attempt in orders.cancelled
        is_interrupted = cancelled or is_stopping or attempt in orders.stale
        is_overdue = mark.deadline is not None and now > mark.deadline
        self._stepless_s = self._stepless_s + passed_s if mark.stepped_at == before.stepped_at else 0.0
        self._interrupted_s = self._interrupted_s + passed_s if is_interrupted else 0.0
        self._overdue_s = self._overdue_s + passed_s if is_overdue else 0.0
        if cancelled and self._interrupted_s > _CANCEL_GRACE_S and not self._is_cancelled:
            # the user need not wait for a step that ends late, such as a download that stalls
            self._is_cancelled = self._report(attempt, attempts.cancel_attempt)
        # the pool watch ends a process in which nothing runs, and reports that as the reason
        because = "" if self._pulse.is_silent else self._reason(mark, attempt, cancelled=cancelled)
        return because if because and self._still_runs(attempt) else ""

    def _still_runs(self, attempt: AttemptId) -> bool:
        """Return whether the step has not returned during the report: the process may run another job now."""
        mark = self._pulse.mark()
        return mark is not None and mark.attempt == attempt and not mark.is_reporting

    def _reason(self, mark: Mark, attempt: AttemptId, *, cancelled: bool) -> str:
        if self._interrupted_s > _INTERRUPTION_GRACE_S:
            report = attempts.cancel_attempt if cancelled else attempts.release
            outcome = AttemptOutcome.CANCELLED if cancelled else AttemptOutcome.RELEASED
            # while the database is unavailable, the step may wait for it: the report is tried again
            is_reported = self._report(attempt, report, outcome)
            return "its step went on after it was interrupted" if is_reported else ""
        if self._overdue_s > _TIMEOUT_GRACE_S:
            return self._fail(attempt, mark.exceeded())
        if self._stepless_s > self._no_progress_s:
            reason = f"no step was finished for {self._no_progress_s:g} s"
            return self._fail(attempt, MaxRuntimeExceeded(reason))
        return ""

    def _fail(self, attempt: AttemptId, error: MaxRuntimeExceeded) -> str:
        failure = AttemptFailure(error.code, str(error))
        report = partial(attempts.fail, failure=failure, retry_in_s=None)
        if not self._report(attempt, report, AttemptOutcome.FAILED, failure):
            _log.warning("hung attempt not reported", attempt=str(attempt))
        return f"its step hangs: {error}"

    def _report(
        self,
        attempt: AttemptId,
        report: _Report,
        outcome: AttemptOutcome | None = None,
        failure: AttemptFailure | None = None,
    ) -> bool:
        """Report in place of the process; return False if the database is, or just was, unavailable.

        Args:
            outcome: the outcome of an attempt whose process is ended now and cannot record its span.
        """
        if self._clock() < self._next_report_at:
            return False

        def work(session: Session) -> attempts.Origin | None:
            bound_transaction(session, lock_s=_LOCK_S, idle_s=_IDLE_S, total_s=_TRANSACTION_S)
            report(session, attempt)
            return attempts.origin(session, attempt) if outcome and tracing.are_on() else None

        try:
            origin = self._database.write(work)
        except StaleAttempt as error:
            _log.info("hung attempt has ended already", reason=str(error))
        except DBAPIError:
            self._next_report_at = self._clock() + _REPORT_INTERVAL_S
            return False
        else:
            if origin is not None and outcome is not None:
                attempt_trace.record_ended(origin, outcome, failure)
        return True
