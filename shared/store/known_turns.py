"""The turns of tenants as a claiming process caches them: read each second, and updated by its own jobs.

A claim need not update the row of a tenant. A process caches the turns of a queue for a second, and collects
the slot time that its jobs have used. It writes this use with a claim or a report, or while a job runs: at
most once a second, but without delay if a tenant has used a second or more of virtual time. A job is charged
with the mean duration of its tenant's last attempts when it starts, with the time beyond that while it runs,
and with the difference when it ends. So a killed process leaves an error of at most that mean.

A process looks for a tenant's next job from the place of the last job that it has started. So no claim visits
earlier jobs that have left the queue but that an old snapshot still sees. A job that gets a lesser place
afterwards is found when the queue is read again.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heapify, heappop, heapreplace
from threading import Lock
from uuid import UUID

from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.store import tenants, turns
from shared.store.places import DEFAULT_RULES, Rules
from shared.store.tenants import Use
from shared.store.turns import Order, Turn

STALE_S = 1.0
"""Seconds for which a process uses the turns that it has read of a queue, and may not see a new job."""

_READ_SHARE = 20  # reading takes at most 1 / `_READ_SHARE` of the time
_WORTH_S = 1.0  # seconds of use that are written at once

Uses = defaultdict[tuple[str, str], Use]
"""The use of tenants, by queue and tenant."""


@dataclass(frozen=True)
class Started:
    """A claimed job with its queue and tenant."""

    job_id: UUID
    queue: str
    tenant: str

    @property
    def of(self) -> tuple[str, str]:
        """The queue and the tenant."""
        return self.queue, self.tenant


@dataclass
class _Running:
    """A job that runs in this process.

    Attributes:
        charged_s: the seconds that its tenant has been charged for it.
    """

    of: tuple[str, str]
    weight: float
    began_at: float
    charged_s: float


@dataclass
class _Known:
    """The cached turns of a queue, by tenant and in a heap.

    Attributes:
        until: the time by the monotonic clock at which the cache expires.
    """

    turns: dict[str, Turn]
    until: float
    heap: list[tuple[Order, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.heap = [(turn.order, tenant) for tenant, turn in self.turns.items()]
        heapify(self.heap)

    def first(self) -> Turn | None:
        while self.heap:
            order, tenant = self.heap[0]
            turn = self.turns.get(tenant)
            if turn is None:
                heappop(self.heap)
            elif turn.order != order:  # the tenant has used more since
                heapreplace(self.heap, (turn.order, tenant))
            else:
                return turn
        return None


class KnownTurns:
    """The turns that a process has cached: see the module. A second thread may use it meanwhile."""

    def __init__(
        self,
        rules: Rules = DEFAULT_RULES,
        *,
        stale_s: float = STALE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without cached turns.

        Args:
            stale_s: seconds for which turns are cached; 0 to read them each time.
            monotonic: the clock, which tests replace.
        """
        self.rules = rules
        self._stale_s, self._monotonic = stale_s, monotonic
        self._known: dict[str, _Known] = {}
        self._running: dict[UUID, _Running] = {}
        self._owed: Uses = defaultdict(Use)
        self._settlements: list[Settlement] = []
        self._settled_at = monotonic()
        self._lock = Lock()

    def in_order(self, session: Session, queue: str, *, now: Now) -> Iterator[Turn]:
        """Yield the next turn of a queue, again and again; no turn while limits are set.

        After each turn, the caller says by `found` or `found_none` whether the tenant had a job.
        """
        known = self._known.get(queue)
        if known is not None and self._monotonic() < known.until:
            while (turn := known.first()) is not None:
                yield turn
        known = self._known[queue] = self._read(session, queue, now)
        while (turn := known.first()) is not None:
            yield turn

    def _read(self, session: Session, queue: str, now: Now) -> _Known:
        began_at = self._monotonic()
        found = turns.enter(session, queue, unless_limited=True, rules=self.rules, now=now)
        until = self._monotonic()
        if self._stale_s:
            until += max(self._stale_s, _READ_SHARE * (until - began_at))
        with self._lock:
            # the use that a settlement has taken is not in the rows yet: this transaction writes it later
            for owed in (self._owed, *(settlement.taken for settlement in self._settlements)):
                for turn in found:
                    if use := owed.get((queue, turn.tenant)):
                        turn.time_s += use.time_s
        return _Known({turn.tenant: turn for turn in found}, until)

    def is_urgent(self, turn: Turn) -> bool:
        """Return whether a tenant's next job is urgent, as far as this process knows."""
        return turn.head_start_s >= self.rules.urgent_s

    def found(self, turn: Turn, place: float, head_start_s: float, at: datetime) -> None:
        """Note that a job of a tenant starts."""
        turn.place, turn.head_start_s = place, head_start_s
        turn.waits_since, turn.is_overdue = at, False

    def found_none(self, queue: str, turn: Turn) -> None:
        """Note that a tenant has no job that can start."""
        del self._known[queue].turns[turn.tenant]

    def forget(self) -> None:
        """Drop all cached turns, because the transaction that has changed them is run again."""
        self._known.clear()

    @contextmanager
    def settling(self) -> Iterator["Settlement"]:
        """Yield a settlement to be written by a transaction of this block; unwritten use stays owed."""
        settlement = Settlement(self, self._take())
        self._settlements.append(settlement)
        try:
            yield settlement
        except BaseException:
            settlement.undo()
            raise
        finally:
            with self._lock:
                self._settlements.remove(settlement)
                for of in settlement.taken.keys() - settlement.written:
                    self._owed[of].add(settlement.taken[of])
        for started in settlement.started:
            self._note_started(started, settlement.written)

    def _take(self) -> Uses:
        with self._lock:
            is_due = self._monotonic() - self._settled_at >= self._stale_s
            if not is_due and all(abs(use.time_s) < _WORTH_S for use in self._owed.values()):
                return defaultdict(Use)
            taken, self._owed = self._owed, defaultdict(Use)
            self._settled_at = self._monotonic()
            return taken

    def _note_started(self, started: Started, written: Set[tuple[str, str]]) -> None:
        seconds, weight = self.estimate(started)
        if started.of not in written:
            seconds = 0.0
        running = _Running(started.of, weight, self._monotonic(), seconds)
        with self._lock:
            self._running[started.job_id] = running
            self._charge(running, seconds)

    def began(self, job_id: UUID) -> None:
        """Note that a job uses a slot from now on: jobs that were claimed together begin one by one."""
        with self._lock:
            if (running := self._running.get(job_id)) is not None:
                running.began_at = self._monotonic()

    def ended(self, job_id: UUID) -> None:
        """Note that a job no longer uses a slot."""
        with self._lock:
            running = self._running.pop(job_id, None)
            if running is not None:
                seconds = self._monotonic() - running.began_at
                self._owe(running, Use((seconds - running.charged_s) / running.weight, 1, seconds))

    def not_begun(self, job_id: UUID) -> None:
        """Note that a job that was claimed with others has used nothing, and goes back to its queue."""
        with self._lock:
            running = self._running.pop(job_id, None)
            if running is not None and running.charged_s:
                self._owe(running, Use(-running.charged_s / running.weight))

    def grow(self) -> None:
        """Charge the running jobs for the time that they have used beyond their charges."""
        with self._lock:
            for running in self._running.values():
                seconds = self._monotonic() - running.began_at
                if seconds > running.charged_s:
                    self._owe(running, Use((seconds - running.charged_s) / running.weight))
                    running.charged_s = seconds

    def _owe(self, running: _Running, use: Use) -> None:
        self._owed[running.of].add(use)
        self._charge(running, use.time_s * running.weight)

    def _charge(self, running: _Running, seconds: float) -> None:
        if (turn := self._turn(*running.of)) is not None:
            turn.time_s += seconds / running.weight

    def _turn(self, queue: str, tenant: str) -> Turn | None:
        known = self._known.get(queue)
        return known.turns.get(tenant) if known else None

    def estimate(self, started: Started) -> tuple[float, float]:
        """Return the seconds that a tenant is charged when its job starts, and the tenant's weight."""
        turn = self._turn(*started.of)
        if turn is None:
            return 0.0, 1.0
        # shorter jobs are charged when they have ended
        return turn.mean_s if turn.mean_s and turn.mean_s >= _WORTH_S else 0.0, turn.weight


@dataclass(eq=False)
class Settlement:
    """The unwritten use of tenants, to be written in a transaction, which may be run again.

    Attributes:
        taken: the use by jobs that have run.
        started: the jobs that start with the transaction.
        written: the queues and tenants whose use the transaction has written.
    """

    known: KnownTurns
    taken: Uses
    started: Sequence[Started] = ()
    written: Set[tuple[str, str]] = frozenset()

    def write(self, session: Session, started: Sequence[Started] = (), *, now: Now = database_now) -> None:
        """Add the taken use, and estimates for jobs that the transaction claims, to the tenants' rows."""
        self.started = started
        uses: Uses = defaultdict(Use)
        for of, use in self.taken.items():
            uses[of].add(use)
        for each in started:
            seconds, weight = self.known.estimate(each)
            if seconds:
                uses[each.of].add(Use(seconds / weight))
        self.written = tenants.add(session, uses, now=now)

    def undo(self) -> None:
        """Note that the transaction has failed."""
        self.started, self.written = (), frozenset()
