"""Whose turn it is, as a process that claims jobs knows it: read each second, with what its jobs have used.

No claim updates a row of a tenant. A process keeps what it has read of a queue for a second, and writes what
its jobs have used when that is worth a row: with a claim, a report or while one runs, at most once a second,
and for jobs of seconds with each. A job is charged with the mean of its tenant's last ones when it starts,
with what it has used beyond that while it runs, and with the difference when it ends. A killed process leaves
an error of that mean at most.

From the place of a job that a process has started, it looks for the tenant's next one: no claim visits what
was done before it and is still seen by an old snapshot. A job that is placed before it later is found when
the queue is read again.
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
"""For how long a process goes by what it has read of a queue: so long it may take until it sees a new job."""

_READ_SHARE = 20  # the greatest part of the time that goes to reading is one of these
_WORTH_S = 1.0  # of virtual time is written at once

Uses = defaultdict[tuple[str, str], Use]
"""What tenants have used, by queue and tenant."""


@dataclass(frozen=True)
class Started:
    """A job that was claimed, and whose it is."""

    job_id: UUID
    queue: str
    tenant: str

    @property
    def of(self) -> tuple[str, str]:
        """The queue and the tenant."""
        return self.queue, self.tenant


@dataclass
class _Running:
    """A job that runs in this process; `charged_s` is what its tenant was charged for it."""

    of: tuple[str, str]
    weight: float
    began_at: float
    charged_s: float


@dataclass
class _Known:
    """The turns of a queue by tenant, in a heap, and until when this process goes by them."""

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
            elif turn.order != order:  # it has used more since
                heapreplace(self.heap, (turn.order, tenant))
            else:
                return turn
        return None


class KnownTurns:
    """What a process knows: see the module. A second thread may settle meanwhile."""

    def __init__(
        self,
        rules: Rules = DEFAULT_RULES,
        *,
        stale_s: float = STALE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know nothing yet; tests read each time, with `stale_s` 0, and move the clock."""
        self.rules = rules
        self._stale_s, self._monotonic = stale_s, monotonic
        self._known: dict[str, _Known] = {}
        self._running: dict[UUID, _Running] = {}
        self._owed: Uses = defaultdict(Use)
        self._settlements: list[Settlement] = []
        self._settled_at = monotonic()
        self._lock = Lock()

    def in_order(self, session: Session, queue: str, *, now: Now) -> Iterator[Turn]:
        """Yield the next turn of a queue, as often as that is asked; nobody's is next while limits are set.

        Whoever has asked says by `found` or `found_none` whether the tenant had a job.
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
            # what a settlement has taken is written after this, by the transaction that reads
            for owed in (self._owed, *(settlement.taken for settlement in self._settlements)):
                for turn in found:
                    if use := owed.get((queue, turn.tenant)):
                        turn.time_s += use.time_s
        return _Known({turn.tenant: turn for turn in found}, until)

    def is_urgent(self, turn: Turn) -> bool:
        """Return whether a tenant's next job is urgent, as far as this process knows."""
        return turn.head_start_s >= self.rules.urgent_s

    def found(self, turn: Turn, place: float, head_start_s: float, at: datetime) -> None:
        """Note that a tenant's job starts."""
        turn.place, turn.head_start_s = place, head_start_s
        turn.waits_since, turn.is_overdue = at, False

    def found_none(self, queue: str, turn: Turn) -> None:
        """Note that a tenant has no job that can start."""
        del self._known[queue].turns[turn.tenant]

    def forget(self) -> None:
        """Read all queues again: the transaction that was noted is run again."""
        self._known.clear()

    @contextmanager
    def settling(self) -> Iterator["Settlement"]:
        """Write what is owed in a transaction of this block; it stays owed if that does not come to it."""
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
        """Note that a job uses a slot from now on: those that were claimed with others begin one by one."""
        with self._lock:
            if (running := self._running.get(job_id)) is not None:
                running.began_at = self._monotonic()

    def ended(self, job_id: UUID) -> None:
        """Note that a job uses no slot any more."""
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
        """Charge what the jobs that run have used beyond what was charged."""
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
        """Return the seconds that a tenant is charged with when a job of it starts, and its weight."""
        turn = self._turn(*started.of)
        if turn is None:
            return 0.0, 1.0
        # shorter ones are charged when they have ended
        return turn.mean_s if turn.mean_s and turn.mean_s >= _WORTH_S else 0.0, turn.weight


@dataclass(eq=False)
class Settlement:
    """What a process owes, to be written in a transaction, which may be run again.

    Attributes:
        taken: for jobs that have run.
        started: the jobs that start with the transaction.
        written: the tenants, by queue, of which the transaction has written it.
    """

    known: KnownTurns
    taken: Uses
    started: Sequence[Started] = ()
    written: Set[tuple[str, str]] = frozenset()

    def write(self, session: Session, started: Sequence[Started] = (), *, now: Now = database_now) -> None:
        """Add what is owed to the rows, with the estimates of jobs that this transaction has claimed."""
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
