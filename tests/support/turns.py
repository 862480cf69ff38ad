"""A model of the order of a queue in plain Python: `shared.store.places` and `shared.store.turns`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from shared.schemas import Priority
from shared.store.places import DEFAULT_RULES, Rules


class Waiting(Protocol):
    """What the model knows of a queued job."""

    tenant: str
    priority: str
    place: float
    scheduled_at: datetime


J = TypeVar("J", bound=Waiting)


@dataclass
class QueueOrder:
    """The order of one queue, in which every job is a single one.

    Attributes:
        times: the virtual times of tenants that have used something.
        served_at: when they had their last slot.
    """

    rules: Rules = DEFAULT_RULES
    times: dict[str, float] = field(default_factory=dict)
    served_at: dict[str, datetime] = field(default_factory=dict)

    def place(self, tenant: str, priority: Priority, at: datetime, queued: Iterable[Waiting]) -> float:
        """Return the place of a new job; `queued` are all jobs that wait."""
        now_s, own = at.timestamp(), [job for job in queued if job.tenant == tenant]
        clock_s = now_s
        if own:
            first = min(own, key=lambda job: job.place)
            turn_s = first.place + self.rules.head_start_s(Priority(first.priority))
            clock_s = min(now_s, max(turn_s, now_s - self.rules.passed_s))
        alike = [job.place + 1 for job in own if job.priority == priority]
        return max([clock_s - self.rules.head_start_s(priority), *alike])

    def enter(self, tenant: str, at: datetime) -> None:
        """A tenant is seen to wait."""
        if tenant not in self.times:
            self.use(tenant, 0.0, 1.0, at)

    def use(self, tenant: str, seconds: float, weight: float, at: datetime) -> None:
        """A tenant has used a slot for so long."""
        begins_at = min(self.times.values(), default=0.0)
        self.times[tenant] = self.times.get(tenant, begins_at) + seconds / weight
        self.served_at[tenant] = at

    def next(self, jobs: dict[UUID, J], at: datetime) -> UUID | None:
        """Return which of the jobs that can start is next."""
        firsts: dict[str, UUID] = {}
        for job_id in sorted(jobs, key=lambda each: (jobs[each].place, each), reverse=True):
            firsts[jobs[job_id].tenant] = job_id
        return min(firsts.values(), key=lambda job_id: self._order(jobs[job_id], at), default=None)

    def _order(self, job: Waiting, at: datetime) -> tuple[bool, float, float, str]:
        waits_since = self.served_at.get(job.tenant, job.scheduled_at)
        if (at - waits_since).total_seconds() > self.rules.passed_s:
            return False, waits_since.timestamp(), job.place, job.tenant
        time_s = self.times.get(job.tenant, min(self.times.values(), default=0.0))
        head_start_s = self.rules.head_start_s(Priority(job.priority))
        return True, time_s - head_start_s, job.place, job.tenant
