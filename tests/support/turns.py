"""A model of the order of a queue in plain Python: the places of jobs by `shared.store.tenants`."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from shared.schemas import Priority
from shared.store.places import DEFAULT_RULES, Rules
from shared.store.tenants import Tenant, on_grid


@dataclass(frozen=True)
class Placed:
    """A job that waits and is due, or runs."""

    place: float
    priority: Priority


@dataclass
class QueueOrder:
    """Gives the jobs of one queue their places."""

    rules: Rules = DEFAULT_RULES
    served: float | None = None
    clocks: dict[Priority, float] = field(default_factory=dict)
    last: dict[Priority, float] = field(default_factory=dict)
    following: dict[tuple[str, Priority], float] = field(default_factory=dict)

    def submit(
        self,
        tenant: Tenant,
        priority: Priority,
        count: int,
        at: float,
        waiting: Iterable[Placed],
        running: Iterable[Placed],
    ) -> list[float]:
        """Return the places of new jobs of a tenant, in order."""
        clock = self._clock(priority, at, list(waiting), list(running))
        first = max(clock, self.following.get((tenant.name, priority), clock))
        after = first + count * tenant.job_s
        self.clocks[priority] = clock
        self.following[tenant.name, priority] = after
        self.last[priority] = max(after, self.last.get(priority, after))
        return [first + number * tenant.job_s for number in range(count)]

    def _clock(self, priority: Priority, at: float, waiting: list[Placed], running: list[Placed]) -> float:
        head_start = self.rules.head_start_s(priority)
        served = [at if self.served is None else self.served, *(job.place for job in running)]
        if waiting:
            following = min(waiting, key=lambda job: job.place)
            served += [following.place] if following.priority != Priority.LOW else []
        elif not running:
            served += self.last.values()
        self.served = max(*served, at - self.rules.passed_s)
        alike = [job.place for job in waiting if job.priority == priority]
        started = [job.place for job in running if job.priority == priority]
        clocks = [self.clocks.get(priority, 0.0), at - self.rules.passed_s - head_start]
        if alike:
            return on_grid(max(*clocks, min(alike)))
        clocks += [self.served - head_start, *(started or [self.last.get(priority, 0.0)])]
        return on_grid(max(clocks))
