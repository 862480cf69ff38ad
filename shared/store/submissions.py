"""Submissions: what a request submits, who does, and what it is answered with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from shared import log
from shared.errors import IdempotencyKeyReused
from shared.lifecycle import JobKind, JobState
from shared.schemas import Priority
from shared.store.dependencies import Refusal
from shared.store.idempotency import Idempotency
from shared.store.rights import Actor, require_urgent


@dataclass(frozen=True)
class NewJob:
    """A job that is to be stored.

    Attributes:
        id: a UUIDv7 drawn by the caller, so that a transaction that is run again stores one job.
        spec: the complete TrainSpec or EvaluateSpec.
        model_id: the model that an evaluation job measures.
        retry_of: the finished job that this one retries.
        sweep_id: the sweep that the job belongs to.
        after: the jobs that must have succeeded before it starts.
        earliest_at: when it may start at the earliest; None: at once.
        request_id: id of the API request, which the worker's log lines carry too.
    """

    id: UUID
    kind: JobKind
    spec: BaseModel
    name: str | None = None
    tags: tuple[str, ...] = ()
    queue: str = "default"
    priority: Priority = Priority.NORMAL
    max_attempts: int = 3
    max_runtime_s: float | None = None
    model_id: UUID | None = None
    retry_of: UUID | None = None
    sweep_id: UUID | None = None
    after: tuple[UUID, ...] = ()
    earliest_at: datetime | None = None
    request_id: str | None = field(default_factory=log.request_id)

    def scheduled_at(self, submitted_at: datetime) -> datetime:
        """Return when it may start."""
        return submitted_at if self.earliest_at is None else max(submitted_at, self.earliest_at)


@dataclass(frozen=True)
class NewSweep:
    """A sweep that is to be stored with its jobs.

    Attributes:
        id: a new UUIDv7, which each of the jobs has as its `sweep_id`.
        request: the client's request, as JSON.
    """

    id: UUID
    name: str | None
    request: dict[str, Any]


@dataclass(frozen=True)
class Submitter:
    """Who submits jobs.

    Attributes:
        tenant: whose turn the jobs take: a key or team, or an address.
        api_key_id: None for a key of the setting `API_KEYS`, and without a key.
        actor: whom the jobs' first events name; None: nobody.
    """

    tenant: str = ""
    api_key_id: UUID | None = None
    actor: Actor | None = None

    @property
    def by(self) -> Mapping[str, Any]:
        """The data of the jobs' first events."""
        return {} if self.actor is None else self.actor.by


ANYONE = Submitter()
"""Someone whose tenant is not known."""


@dataclass(frozen=True)
class NewJobs:
    """What one request submits: its jobs are stored together, all or none.

    Attributes:
        jobs: one or more; the first one's id stands for all of them.
        idempotency: None if the client sent no key.
        sweep: the sweep that the jobs belong to.
        traceparent: the span of the submission, where traces are exported.

    Raises:
        NotPermitted: a job is urgent, and the submitter may not submit such jobs.
    """

    jobs: Sequence[NewJob]
    idempotency: Idempotency | None = None
    sweep: NewSweep | None = None
    submitter: Submitter = ANYONE
    traceparent: str | None = None

    def __post_init__(self) -> None:
        actor = self.submitter.actor
        if actor is not None and any(job.priority is Priority.URGENT for job in self.jobs):
            require_urgent(actor)

    @property
    def id(self) -> UUID:
        """The first job's id."""
        return self.jobs[0].id

    @property
    def sweep_id(self) -> UUID | None:
        """The sweep's id."""
        return None if self.sweep is None else self.sweep.id

    @property
    def retried(self) -> set[UUID]:
        """The jobs that any of them retries."""
        return {job.retry_of for job in self.jobs if job.retry_of is not None}

    @property
    def after(self) -> set[UUID]:
        """The jobs that any of them is to run after."""
        return {job_id for job in self.jobs for job_id in job.after}

    def evaluated(self, predecessors: Mapping[UUID, JobState]) -> set[UUID]:
        """Return the models that any of them evaluates, but for those that are to come.

        Args:
            predecessors: the states of the jobs in `after`; a training that has succeeded has its model.
        """
        return {
            job.model_id
            for job in self.jobs
            if job.model_id is not None
            and (job.model_id not in job.after or predecessors.get(job.model_id) == JobState.SUCCEEDED)
        }


@dataclass(frozen=True)
class Receipt:
    """The result of a submission.

    Attributes:
        job_id: the first job that was stored, now or by an earlier request with the same idempotency key.
        created_at: when this submission stored it; None if an earlier request did.
        sweep_id: the sweep that an earlier request has stored; None: none, or a version before 0.2 did.
    """

    job_id: UUID
    created_at: datetime | None
    sweep_id: UUID | None = None

    @property
    def replayed(self) -> bool:
        """Whether an earlier request with the same idempotency key has stored the jobs."""
        return self.created_at is None


class WouldWait(Exception):
    """The submission needs what another transaction has locked, which the message names."""


Outcome = Receipt | IdempotencyKeyReused | Refusal | WouldWait
"""What a submission is answered with; an error is returned, because it concerns this submission alone."""
