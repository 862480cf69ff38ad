"""Slots that run jobs on the store itself and on a clock that is moved: how evenly tenants are served."""

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from heapq import heappop, heappush
from itertools import count
from uuid import UUID

from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.schemas import Priority
from shared.store import attempts, claims
from shared.store.known_turns import KnownTurns, Settlement
from shared.store.places import DEFAULT_RULES, Rules
from shared.store.submissions import NewJobs, NewSweep, Submitter
from shared.store.submit import submit_jobs
from shared.store.transitions import AttemptId
from tests.support.factories import make_new_job, make_worker_info
from tests.support.fakes import FrozenClock

_ENDS, _RENEWS = "ends", "renews"


class Slots:
    """Slots of a queue, each of a process of its own, as workers run them but for the work.

    Attributes:
        waited_s: how long each job that has started waited.
        started: the jobs, in order.
    """

    def __init__(
        self,
        database: Database,
        clock: FrozenClock,
        slots: int,
        *,
        rules: Rules = DEFAULT_RULES,
        heartbeat_s: float = 60.0,
    ) -> None:
        self._database, self._clock, self._rules, self._heartbeat_s = database, clock, rules, heartbeat_s
        self._known = [KnownTurns(rules, monotonic=lambda: self.now_s) for _ in range(slots)]
        self._free = set(range(slots))
        self._running: dict[int, AttemptId] = {}
        self._numbers = count()
        self._events: list[tuple[float, int, str, int, AttemptId]] = []
        self._lengths: dict[UUID, tuple[str, float]] = {}
        self._began_at: dict[int, float] = {}
        self._submitted_at: dict[UUID, float] = {}
        self._used_s: defaultdict[str, float] = defaultdict(float)
        self.waited_s: dict[UUID, float] = {}
        self.started: list[UUID] = []

    @property
    def now_s(self) -> float:
        """The time."""
        return self._clock.moment.timestamp()

    def submit(
        self,
        tenant: str,
        jobs: int,
        seconds: float,
        *,
        priority: Priority = Priority.NORMAL,
        key_id: UUID | None = None,
        is_sweep: bool = False,
    ) -> list[UUID]:
        """Submit jobs of this length by one request."""
        sweep = NewSweep(uuid7(), None, {}) if is_sweep else None
        new = [make_new_job(priority=priority, sweep_id=sweep and sweep.id) for _ in range(jobs)]
        request = NewJobs(new, sweep=sweep, submitter=Submitter(tenant, key_id))
        self._database.write(partial(submit_jobs, requests=[request], rules=self._rules, now=self._clock))
        self._lengths |= {job.id: (tenant, seconds) for job in new}
        self._submitted_at |= {job.id: self.now_s for job in new}
        return [job.id for job in new]

    def run(self, seconds: float) -> None:
        """Let the slots run jobs for so long."""
        until = self.now_s + seconds
        for slot in sorted(self._free):
            self._claim(slot)
        while self._events and self._events[0][0] <= until:
            at, _, kind, slot, attempt = heappop(self._events)
            self._clock.advance(at - self.now_s)
            if self._running.get(slot) != attempt:
                continue
            if kind == _RENEWS:
                self._renew(slot, attempt)
            else:
                self._end(slot, attempt)
                for free in sorted(self._free):
                    self._claim(free)
        self._clock.advance(until - self.now_s)

    def use(self) -> dict[str, float]:
        """Return the slot-seconds that each tenant has used, with those of the jobs that run."""
        used = self._used_s.copy()
        for slot, attempt in self._running.items():
            used[self._lengths[attempt.job_id][0]] += self.now_s - self._began_at[slot]
        return used

    def _claim(self, slot: int) -> None:
        with self._known[slot].settling() as settlement:
            claim = self._database.write(partial(self._start, slot, settlement))
        if claim is None:
            return
        job_id = claim.attempt.job_id
        self._free.discard(slot)
        self._running[slot], self._began_at[slot] = claim.attempt, self.now_s
        self.started.append(job_id)
        self.waited_s[job_id] = self.now_s - self._submitted_at[job_id]
        self._plan(self._lengths[job_id][1], _ENDS, slot, claim.attempt)
        self._plan(self._heartbeat_s, _RENEWS, slot, claim.attempt)

    def _start(self, slot: int, settlement: Settlement, session: Session) -> claims.Claim | None:
        worker, owner = make_worker_info(name=f"worker-{slot}"), str(uuid7())
        claim = claims.claim(
            session,
            ["default"],
            worker=worker,
            owner=owner,
            lease_s=1e9,
            again=False,
            known=self._known[slot],
            now=self._clock,
        )
        settlement.write(session, [claim.started] if claim else [], now=self._clock)
        return claim

    def _end(self, slot: int, attempt: AttemptId) -> None:
        self._known[slot].ended(attempt.job_id)
        self._database.write(partial(attempts.cancel_attempt, attempt=attempt, now=self._clock))
        self._used_s[self._lengths[attempt.job_id][0]] += self.now_s - self._began_at.pop(slot)
        del self._running[slot]
        self._free.add(slot)

    def _renew(self, slot: int, attempt: AttemptId) -> None:
        self._known[slot].grow()
        with self._known[slot].settling() as settlement:
            self._database.write(partial(settlement.write, now=self._clock))
        self._plan(self._heartbeat_s, _RENEWS, slot, attempt)

    def _plan(self, after_s: float, kind: str, slot: int, attempt: AttemptId) -> None:
        heappush(self._events, (self.now_s + after_s, next(self._numbers), kind, slot, attempt))


def jain(shares: Iterable[float]) -> float:
    """Return Jain's index of fairness: 1 if all shares are equal, 1 / n if one of n has all."""
    values = list(shares)
    return sum(values) ** 2 / (len(values) * sum(value**2 for value in values))
