"""A model of limits and of preemption in plain Python: which jobs may start, and which are preempted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from shared.schemas import Priority
from tests.support.queue_driver import AttemptId

MIN_RUN_S = 20.0
_RANKS = {Priority.LOW: 0, Priority.NORMAL: 1, Priority.HIGH: 2}


class ModelledJob(Protocol):
    """What the model knows of a job."""

    place: float
    priority: str
    attempt: int
    cancel_requested: bool
    key: UUID | None
    attempts: list[tuple[str, str | None]]

    @property
    def is_running(self) -> bool:
        """Whether it runs."""


@dataclass
class Request:
    """A request that an attempt give its slot."""

    urgent: UUID
    was_preempted: bool = False


@dataclass
class SlotsModel:
    """Limits, preemptions, and when each attempt has started; one queue, each worker with one slot.

    Attributes:
        queue_limit: how many jobs run at the same time; None: not limited.
        key_limits: the same for API keys.
    """

    workers: tuple[str, ...]
    queue_limit: int | None = None
    key_limits: dict[UUID, int | None] = field(default_factory=dict)
    requests: dict[AttemptId, Request] = field(default_factory=dict)
    started: dict[AttemptId, datetime] = field(default_factory=dict)

    def is_queue_full(self, jobs: Mapping[UUID, ModelledJob]) -> bool:
        running = sum(job.is_running for job in jobs.values())
        return self.queue_limit is not None and running >= self.queue_limit

    def is_key_full(self, jobs: Mapping[UUID, ModelledJob], key: UUID | None) -> bool:
        limit = None if key is None else self.key_limits.get(key)
        return limit is not None and sum(job.is_running and job.key == key for job in jobs.values()) >= limit

    def let_start(self, jobs: Mapping[UUID, ModelledJob], job: ModelledJob) -> bool:
        return not self.is_queue_full(jobs) and not self.is_key_full(jobs, job.key)

    def urgent_of(self, attempt: AttemptId, queued: set[UUID]) -> UUID | None:
        """The urgent job that preempts an attempt; None if none does."""
        request = self.requests.get(attempt)
        return request.urgent if request and request.urgent in queued else None

    def request(
        self, jobs: Mapping[UUID, ModelledJob], due: set[UUID], queued: set[UUID], at: datetime
    ) -> list[AttemptId]:
        """Have each urgent job that is due, finds no free slot and has no victim preempt a job."""
        busy = [job.attempts[-1][0] for job in jobs.values() if job.is_running]
        free = sum(max(0, 1 - busy.count(worker)) for worker in self.workers)
        open_for = {each.urgent for victim, each in self.requests.items() if _runs(jobs, victim)}
        waiting = [job_id for job_id in due - open_for if jobs[job_id].priority == Priority.URGENT]
        requested = []
        for job_id in sorted(waiting, key=lambda each: (jobs[each].place, each)):
            if free and self.let_start(jobs, jobs[job_id]):
                free -= 1
                continue
            self._forget_needless(queued)
            if victim := self._victim(jobs, job_id, at):
                self.requests[victim] = Request(job_id)
                requested.append(victim)
        return requested

    def _forget_needless(self, queued: set[UUID]) -> None:
        for victim, request in list(self.requests.items()):
            if not request.was_preempted and request.urgent not in queued:
                del self.requests[victim]

    def _victim(self, jobs: Mapping[UUID, ModelledJob], urgent: UUID, at: datetime) -> AttemptId | None:
        needs_key = self.is_key_full(jobs, jobs[urgent].key)
        candidates = [
            AttemptId(job_id, job.attempt)
            for job_id, job in jobs.items()
            if job.is_running
            and job.priority != Priority.URGENT
            and not job.cancel_requested
            and (not needs_key or job.key == jobs[urgent].key)
            and self._may_be_preempted(AttemptId(job_id, job.attempt), urgent, at)
        ]

        def order(victim: AttemptId) -> tuple[int, float, int]:
            job = jobs[victim.job_id]
            return _RANKS[Priority(job.priority)], -job.place, -victim.job_id.int

        return min(candidates, key=order, default=None)

    def _may_be_preempted(self, attempt: AttemptId, urgent: UUID, at: datetime) -> bool:
        earlier = [each for victim, each in self.requests.items() if victim.job_id == attempt.job_id]
        preempted_by = [each.urgent for each in earlier if each.was_preempted]
        has_run = at - self.started[attempt] >= timedelta(seconds=MIN_RUN_S)
        return attempt not in self.requests and urgent not in preempted_by and (not preempted_by or has_run)


def _runs(jobs: Mapping[UUID, ModelledJob], attempt: AttemptId) -> bool:
    job = jobs[attempt.job_id]
    return job.is_running and job.attempt == attempt.number
