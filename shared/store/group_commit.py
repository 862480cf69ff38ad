"""Group commit: concurrent submissions of a process share a transaction and the message to the workers.

One thread commits all submissions that wait, then all that have arrived meanwhile. So no timer delays a lone
submission, and the more arrive at once, the less each costs. A submission that would have to wait for a row,
such as that of a job that another transaction has locked, is set aside and tried again with later groups, so
that the other submissions do not wait for that row.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

from sqlalchemy.exc import TimeoutError as DatabaseTimeout
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.outages import is_transient
from shared.db.postgresql import bound_transaction
from shared.store.places import DEFAULT_RULES, Rules
from shared.store.submission_trace import traced
from shared.store.submissions import NewJobs, Outcome, Receipt, WouldWait
from shared.store.submit import submit_jobs

WAIT_S = 2.5  # so that a submit request is answered within 3 s

_MAX_JOBS = 256  # jobs in a group, unless a single submission has more
_MAX_WAITING = 2_048
_CLOSE_TIMEOUT_S = 5.0
_MAX_ASIDE = 512
_ASIDE_S = 0.05  # pause between two tries of the submissions that are set aside
# short limits: a process that is stopped within a group's transaction holds locks on the keys and the jobs
# that its submissions name
_MAX_IDLE_S, _MAX_LOCK_S, _MAX_TRANSACTION_S = 1.5, 2.0, 5.0


class NotCommitted(DatabaseTimeout):
    """The submission waited too long for the database; it is stored only if its commit has begun."""


@dataclass(eq=False)
class _Waiting:
    """A submission that is to be committed.

    Attributes:
        until: the time by the monotonic clock at which it is given up: a little before its caller gives up,
            so that the caller gets the reason.
        was_tried: whether a transaction has included it before, whose commit may have gone unconfirmed.
    """

    new: NewJobs
    receipt: Future[Receipt] = field(default_factory=Future)
    until: float = field(default_factory=lambda: monotonic() + 0.9 * WAIT_S)
    was_tried: bool = False


class GroupCommit:
    """A thread that stores submissions in groups and wakes the workers after each commit."""

    def __init__(
        self,
        database: Database,
        wake: Callable[[Mapping[str, int]], object],
        rules: Rules = DEFAULT_RULES,
    ) -> None:
        """Start the thread.

        Args:
            wake: called after each commit with the number of jobs that were stored in each queue; the next
                commit waits for its return. It must not fail.
        """
        self._rules = rules
        self._database = database
        self._wake = wake
        self._waiting: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._aside: list[_Waiting] = []  # used by the thread only, like `_try_aside_at`
        self._try_aside_at = 0.0
        self._is_open = True
        self._thread = Thread(target=self._run, name="group commit", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Commit the waiting submissions, for at most 5 s, and refuse further ones."""
        self._is_open = False
        self._waiting.put(None)
        self._thread.join(_CLOSE_TIMEOUT_S)

    @property
    def waiting(self) -> int:
        """The number of submissions that wait for a group."""
        return self._waiting.qsize()

    def submit(self, new: NewJobs) -> Receipt:
        """Store the jobs, wake their workers, and return when they are committed.

        Raises:
            IdempotencyKeyReused: the key was used for a different request.
            JobNotFound: the job that is retried does not exist.
            NotCommitted: too many submissions wait, or this one has waited for `WAIT_S`, such as for a job
                that another transaction has locked.
            SQLAlchemyError: the database refuses these jobs, or is unavailable.
        """
        with traced(new) as jobs:
            receipt = self._enqueue(jobs)
            try:
                return receipt.result(WAIT_S)
            except TimeoutError:
                receipt.cancel()
                raise _given_up() from None

    async def submit_async(self, new: NewJobs) -> Receipt:
        """Do the same as `submit` without blocking the event loop."""
        with traced(new) as jobs:
            try:
                async with asyncio.timeout(WAIT_S):
                    return await asyncio.wrap_future(self._enqueue(jobs))
            except TimeoutError:
                raise _given_up() from None

    def _enqueue(self, new: NewJobs) -> Future[Receipt]:
        if not self._is_open or self.waiting >= _MAX_WAITING:
            raise NotCommitted("the submission was refused: too many wait, or the API is about to end")
        self._waiting.put(entry := _Waiting(new))
        return entry.receipt

    def _run(self) -> None:
        is_open = True
        while is_open:
            group = self._next_group()
            is_open = None not in group
            self._commit([entry for entry in group if entry is not None])
        _complete([(entry, NotCommitted("the API ends")) for entry in self._aside])

    def _next_group(self) -> list[_Waiting | None]:
        """Wait for a submission, or for the next try of those that were set aside; return the next group."""
        wait_s = max(0.0, self._try_aside_at - monotonic()) if self._aside else None
        group: list[_Waiting | None] = []
        with suppress(Empty):
            group.append(self._waiting.get(timeout=wait_s))
            jobs = 0
            while (last := group[-1]) is not None and (jobs := jobs + len(last.new.jobs)) < _MAX_JOBS:
                group.append(self._waiting.get_nowait())
        if self._aside and monotonic() >= self._try_aside_at:
            group, self._aside = [*self._aside, *group], []
        return group

    def _commit(self, group: Sequence[_Waiting]) -> None:
        """Commit a group; if the database refuses it, bisect it until the refused submission is alone."""
        try:
            outcomes = self._database.write(partial(_store, group=group, rules=self._rules))
        except Exception as error:
            if len(group) > 1 and not is_transient(error):
                half = len(group) // 2
                self._commit(group[:half])
                self._commit(group[half:])
            else:
                _complete([(entry, error) for entry in group])
            return
        _complete([(entry, each) for entry, each in outcomes if not isinstance(each, WouldWait)])
        for entry, outcome in outcomes:
            if isinstance(outcome, WouldWait):
                self._set_aside(entry, outcome)
        self._wake_workers(outcomes)

    def _set_aside(self, entry: _Waiting, reason: WouldWait) -> None:
        """Keep a submission for the next try, unless that would be too late or too many are set aside."""
        if not self._aside:
            self._try_aside_at = monotonic() + _ASIDE_S
        if self._try_aside_at < entry.until and len(self._aside) < _MAX_ASIDE:
            self._aside.append(entry)
        else:
            _complete([(entry, NotCommitted(f"the submission was not committed: {reason}"))])

    def _wake_workers(self, outcomes: Sequence[tuple[_Waiting, Outcome]]) -> None:
        queues = Counter(
            job.queue
            for entry, outcome in outcomes
            if isinstance(outcome, Receipt) and not outcome.replayed
            for job in entry.new.jobs
        )
        if queues:
            self._wake(queues)


def _store(session: Session, group: Sequence[_Waiting], rules: Rules) -> list[tuple[_Waiting, Outcome]]:
    # a caller that has given up has received an error, and may submit again
    waiting = [entry for entry in group if not entry.receipt.cancelled()]
    if not waiting:
        return []
    bound_transaction(session, lock_s=_MAX_LOCK_S, idle_s=_MAX_IDLE_S, total_s=_MAX_TRANSACTION_S)
    again = any(entry.was_tried for entry in waiting)
    for entry in waiting:
        entry.was_tried = True
    new = [entry.new for entry in waiting]
    outcomes = submit_jobs(session, new, rules=rules, waits=False, again=again)
    return list(zip(waiting, outcomes, strict=True))


def _complete(outcomes: Sequence[tuple[_Waiting, Receipt | Exception]]) -> None:
    for entry, outcome in outcomes:
        with suppress(InvalidStateError):  # the caller has given up
            if isinstance(outcome, Receipt):
                entry.receipt.set_result(outcome)
            else:
                entry.receipt.set_exception(outcome)


def _given_up() -> NotCommitted:
    return NotCommitted(f"the submission was not committed within {WAIT_S:g} s")
