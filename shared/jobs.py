"""What clients do with jobs: submit them, and ask for their end.

Every function takes an open transaction (`Database.write`) and may be run again after a lost connection, when
it is not known whether the first run was committed: it then finds its own work done, and does nothing.
"""

from dataclasses import dataclass, field
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared import labels, log
from shared.clock import Now, database_now
from shared.db import insert_or_ignore
from shared.errors import IdempotencyKeyReused, JobAlreadyFinished, JobNotFound
from shared.lifecycle import EventType, JobState
from shared.schemas import Priority
from shared.tables import IdempotencyKey, Job
from shared.transitions import change, log_event


@dataclass(frozen=True)
class NewJob:
    """What a job is made of, before it has a life.

    Attributes:
        id: drawn by the caller (UUIDv7), so that submitting twice makes one job.
        spec: the complete TrainSpec or EvaluateSpec.
        model_id: the model that an evaluation job measures.
        retry_of: the finished job that this one repeats.
        sweep_id: the sweep that this job is one of.
        request_id: of the API's request that makes it, which the worker's log lines then carry.
    """

    id: UUID
    kind: str
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
    request_id: str | None = field(default_factory=log.request_id)


@dataclass(frozen=True)
class Idempotency:
    """A client's promise that requests with one key are one request.

    Attributes:
        key: the client's.
        request_sha256: of the request, to notice a key that is used for two things.
    """

    key: str
    request_sha256: str


def submit(
    session: Session, new: NewJob, *, idempotency: Idempotency | None = None, now: Now = database_now
) -> tuple[UUID, bool]:
    """Store a job, `queued` and marked as dispatched: the caller sends it to the broker after the commit.

    Returns:
        the job's id, and whether this call made it: with an idempotency key that was used before, the id is
        the first one's.

    Raises:
        IdempotencyKeyReused: the key came with another request before.
    """
    if idempotency is not None:
        taken = not insert_or_ignore(
            session,
            IdempotencyKey,
            {
                "key": idempotency.key,
                "request_sha256": idempotency.request_sha256,
                "job_id": new.id,
                "created_at": now(),
            },
        )
        if taken:
            first = session.get_one(IdempotencyKey, idempotency.key)
            if first.request_sha256 != idempotency.request_sha256:
                raise IdempotencyKeyReused(
                    f"idempotency key {idempotency.key!r} came with another request before: take a new one"
                )
            return first.job_id, first.job_id == new.id
    elif session.get(Job, new.id) is not None:
        return new.id, True
    _insert(session, new, now)
    return new.id, True


def _insert(session: Session, new: NewJob, now: Now) -> None:
    job = Job(
        id=new.id,
        kind=new.kind,
        state=JobState.QUEUED,
        spec=new.spec.model_dump(mode="json"),
        name=new.name,
        tags=list(new.tags),
        queue=new.queue,
        priority=new.priority,
        retry_of=new.retry_of,
        sweep_id=new.sweep_id,
        model_id=new.model_id,
        request_id=new.request_id,
        version=1,
        attempt=0,
        failures=0,
        crashes=0,
        max_attempts=new.max_attempts,
        max_runtime_s=new.max_runtime_s,
        scheduled_at=now(),
        dispatched_at=now(),
        created_at=now(),
        next_epoch=0,
    )
    session.add(job)
    session.flush()
    labels.add_tags(session, new.id, new.tags)
    log_event(session, new.id, 1, EventType.SUBMITTED, 0, {}, now)


def request_cancel(session: Session, job_id: UUID, *, now: Now = database_now) -> None:
    """Cancel a queued job now, and ask a running one's worker to stop it. Asking twice is asking once.

    Raises:
        JobNotFound: there is no such job.
        JobAlreadyFinished: it has succeeded or failed.
    """
    # locked: if the state changed between looking and asking, the request would be lost
    state = session.scalar(select(Job.state).where(Job.id == job_id).with_for_update(key_share=True))
    if state is None:
        raise JobNotFound(f"there is no job {job_id}")
    if state in (JobState.SUCCEEDED, JobState.FAILED):
        raise JobAlreadyFinished(f"job {job_id} has {state} already; there is nothing left to cancel")
    if state == JobState.QUEUED:
        asked_at = func.coalesce(Job.cancel_requested_at, now())
        change(session, EventType.CANCELLED, job_id, cancel_requested_at=asked_at, now=now)
    else:
        unasked = Job.cancel_requested_at.is_(None)
        change(session, EventType.CANCEL_REQUESTED, job_id, unasked, cancel_requested_at=now(), now=now)
