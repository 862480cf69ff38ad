"""Group commit: concurrent submissions of a process share a transaction and the message to the workers.

One thread commits whatever waits, and then whatever has come meanwhile: a lone submission waits for no
timer, and the more there are at once, the less each costs.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

from sqlalchemy.exc import TimeoutError as DatabaseTimeout
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.outages import is_transient
from shared.store.places import DEFAULT_RULES, Rules
from shared.store.submission_trace import traced
from shared.store.submissions import NewJobs, Outcome, Receipt
from shared.store.submit import submit_jobs

WAIT_S = 2.5  # a submit is answered within 3 s

_MAX_JOBS = 256  # in a group, unless one submission has more
_MAX_WAITING = 2_048
_CLOSE_TIMEOUT_S = 5.0


class NotCommitted(DatabaseTimeout):
    """The submission waited too long for the database; it is stored only if its commit has begun."""


class _Waiting(NamedTuple):
    new: NewJobs
    receipt: Future[Receipt]


class GroupCommit:
    """Stores submissions in groups, from a thread of its own, and wakes the workers after each commit."""

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
        self._is_open = True
        self._thread = Thread(target=self._run, name="group commit", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Commit what waits, for at most 5 s, and refuse further submissions."""
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
            NotCommitted: too many submissions wait, or this one has waited for `WAIT_S`.
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
        receipt: Future[Receipt] = Future()
        self._waiting.put(_Waiting(new, receipt))
        return receipt

    def _run(self) -> None:
        is_open = True
        while is_open:
            group = self._next_group()
            is_open = None not in group
            self._commit([entry for entry in group if entry is not None])

    def _next_group(self) -> list[_Waiting | None]:
        group = [self._waiting.get()]
        jobs = 0
        with suppress(Empty):
            while (last := group[-1]) is not None and (jobs := jobs + len(last.new.jobs)) < _MAX_JOBS:
                group.append(self._waiting.get_nowait())
        return group

    def _commit(self, group: Sequence[_Waiting]) -> None:
        """Commit a group. If the database refuses it, its halves are tried, until the culprit is alone."""
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
        _complete(outcomes)
        self._wake_workers(outcomes)

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
    # those who have given up meanwhile were told so, and may submit again
    waiting = [entry for entry in group if not entry.receipt.cancelled()]
    outcomes = submit_jobs(session, [entry.new for entry in waiting], rules=rules) if waiting else []
    return list(zip(waiting, outcomes, strict=True))


def _complete(outcomes: Sequence[tuple[_Waiting, Receipt | Exception]]) -> None:
    for entry, outcome in outcomes:
        with suppress(InvalidStateError):  # it has given up
            if isinstance(outcome, Receipt):
                entry.receipt.set_result(outcome)
            else:
                entry.receipt.set_exception(outcome)


def _given_up() -> NotCommitted:
    return NotCommitted(f"the submission was not committed within {WAIT_S:g} s")
