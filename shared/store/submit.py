"""Submission: stores queued jobs, once for each idempotency key."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from shared import log
from shared.db.bulk_insert import insert_rows
from shared.db.clock import Now, database_now
from shared.db.engine import insert_new
from shared.db.tables import Base, IdempotencyKey, Job, JobTag, Sweep
from shared.errors import IdempotencyKeyReused, JobNotFound
from shared.lifecycle import JobKind, JobState
from shared.schemas import Priority
from shared.store import places
from shared.store.transitions import log_submitted

_JOBS, _TAGS, _SWEEPS = (Base.metadata.tables[table.__tablename__] for table in (Job, JobTag, Sweep))
# built once, which takes as long as running it
_CREATED_AT = select(_JOBS.c.id, _JOBS.c.created_at).where(_JOBS.c.id.in_(bindparam("ids", expanding=True)))


@dataclass(frozen=True)
class NewJob:
    """A job that is to be stored.

    Attributes:
        id: a UUIDv7 drawn by the caller, so that a transaction that is run again stores one job.
        spec: the complete TrainSpec or EvaluateSpec.
        model_id: the model that an evaluation job measures.
        retry_of: the finished job that this one retries.
        sweep_id: the sweep that the job belongs to.
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
    request_id: str | None = field(default_factory=log.request_id)


@dataclass(frozen=True)
class Idempotency:
    """An idempotency key and the request that it stands for.

    Attributes:
        key: the client's.
        request_sha256: of the request, to notice a key that is used for two things.
    """

    key: str
    request_sha256: str

    @classmethod
    def of(cls, key: str | None, request: str) -> "Idempotency | None":
        """Return the idempotency of a request, given as text; None if the client sent no key."""
        return None if key is None else cls(key, sha256(request.encode()).hexdigest())


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
class NewJobs:
    """What one request submits: its jobs are stored together, all or none.

    Attributes:
        jobs: one or more; the first one's id stands for all of them.
        idempotency: None if the client sent no key.
        sweep: the sweep that the jobs belong to.
    """

    jobs: Sequence[NewJob]
    idempotency: Idempotency | None = None
    sweep: NewSweep | None = None

    @property
    def id(self) -> UUID:
        """The first job's id."""
        return self.jobs[0].id


@dataclass(frozen=True)
class Receipt:
    """The result of a submission.

    Attributes:
        job_id: the first job that was stored, now or by an earlier request with the same idempotency key.
        created_at: when this submission stored it; None if an earlier request did.
    """

    job_id: UUID
    created_at: datetime | None

    @property
    def replayed(self) -> bool:
        """Whether an earlier request with the same idempotency key has stored the jobs."""
        return self.created_at is None


Outcome = Receipt | IdempotencyKeyReused | JobNotFound
"""What a submission is answered with; an error is returned, because it concerns this submission alone."""


class _Owner(NamedTuple):
    """The request that an idempotency key stands for, and the job that it stored."""

    request_sha256: str
    job_id: UUID


def submit_job(
    session: Session, new: NewJob, *, idempotency: Idempotency | None = None, now: Now = database_now
) -> tuple[UUID, bool]:
    """Store one queued job as `submit_jobs` does.

    Returns:
        The job's id, and whether this call stored it. With an idempotency key that was used before, the id
        is that of the job that was stored with it.

    Raises:
        IdempotencyKeyReused: the key was used for a different request.
        JobNotFound: the job that it retries does not exist.
    """
    [outcome] = submit_jobs(session, [NewJobs([new], idempotency)], now=now)
    if not isinstance(outcome, Receipt):
        raise outcome
    return outcome.job_id, not outcome.replayed


def find_replay(session: Session, idempotency: Idempotency) -> UUID | None:
    """Return the first job that an earlier request with the same idempotency key has stored; None: none has.

    Raises:
        IdempotencyKeyReused: the key was used for a different request.
    """
    owner = _owners(session, [idempotency.key]).get(idempotency.key)
    if owner is not None and owner.request_sha256 != idempotency.request_sha256:
        raise _reused(idempotency.key)
    return owner and owner.job_id


def submit_jobs(session: Session, requests: Sequence[NewJobs], *, now: Now = database_now) -> list[Outcome]:
    """Store the queued jobs of several requests, by one statement a table; the caller wakes the workers.

    Idempotent, for each request and whichever others it is repeated with: its transaction is run again if
    the commit was not confirmed. Of several requests with one idempotency key the first one is stored.

    Returns:
        For each request its receipt, or the error that its key was used for a different request, or that the
        job that it retries does not exist.
    """
    at = session.execute(select(now())).scalar_one()
    refused = _refused(session, requests)
    owners = _claim_keys(session, [request for request in requests if request.id not in refused], at)
    stored = _stored(session, requests)
    outcomes = [
        refused.get(request.id) or _outcome(request, owners, stored.get(request.id, at))
        for request in requests
    ]
    receipts = {outcome.job_id for outcome in outcomes if isinstance(outcome, Receipt)}
    _insert(session, [new for new in requests if new.id in receipts and new.id not in stored], at)
    return outcomes


def _refused(session: Session, requests: Sequence[NewJobs]) -> dict[UUID, JobNotFound]:
    """Lock the jobs that are retried, so that none is deleted meanwhile; return the errors by request."""
    retried = {new.id: {job.retry_of for job in new.jobs if job.retry_of is not None} for new in requests}
    if not (sources := set().union(*retried.values())):
        return {}
    lock = select(Job.id).where(Job.id.in_(sources)).order_by(Job.id)
    missing = sources.difference(session.scalars(lock.with_for_update(read=True, key_share=True)))
    stored = _stored(session, requests) if missing else {}  # by a commit that was not confirmed
    return {
        request_id: JobNotFound(f"there is no job {absent}")
        for request_id, of_request in retried.items()
        for absent in of_request & missing
        if request_id not in stored
    }


def _stored(session: Session, requests: Sequence[NewJobs]) -> dict[UUID, datetime]:
    """Return when each of the requests that are stored already was."""
    rows = session.connection().execute(_CREATED_AT, {"ids": [request.id for request in requests]})
    return dict(rows.all())


def _claim_keys(session: Session, requests: Sequence[NewJobs], at: datetime) -> dict[str, _Owner]:
    """Store the idempotency keys that are new, and return who owns each key of the requests."""
    owners: dict[str, _Owner] = {}
    for new in requests:
        if new.idempotency is not None:
            owners.setdefault(new.idempotency.key, _Owner(new.idempotency.request_sha256, new.id))
    unclaimed = set(owners)
    while unclaimed:  # again if a key was deleted with its job after it was found to be used
        # in one order in all transactions, which could otherwise wait for each other's keys
        rows = [{"key": key, **owners[key]._asdict(), "created_at": at} for key in sorted(unclaimed)]
        unclaimed -= {row.key for row in insert_new(session, IdempotencyKey, rows)}
        earlier = _owners(session, unclaimed) if unclaimed else {}
        owners |= earlier
        unclaimed -= earlier.keys()
    return owners


def _owners(session: Session, keys: Collection[str]) -> dict[str, _Owner]:
    """Return who owns each of the keys that are stored."""
    columns = IdempotencyKey.key, IdempotencyKey.request_sha256, IdempotencyKey.job_id
    rows = session.execute(select(*columns).where(IdempotencyKey.key.in_(keys)))
    return {row.key: _Owner(row.request_sha256, row.job_id) for row in rows}


def _reused(key: str) -> IdempotencyKeyReused:
    return IdempotencyKeyReused(f"idempotency key {key!r} was used for a different request: send a new key")


def _outcome(new: NewJobs, owners: Mapping[str, _Owner], created_at: datetime) -> Outcome:
    if new.idempotency is None:
        return Receipt(new.id, created_at)
    key = new.idempotency.key
    owner = owners[key]
    if owner.request_sha256 != new.idempotency.request_sha256:
        return _reused(key)
    return Receipt(owner.job_id, created_at if owner.job_id == new.id else None)


def _insert(session: Session, requests: Sequence[NewJobs], at: datetime) -> None:
    jobs = [job for new in requests for job in new.jobs]
    insert_rows(session, _JOBS, [_row(job, at) for job in jobs])
    log_submitted(session, [job.id for job in jobs], at)
    add_tags(session, {job.id: job.tags for job in jobs})
    sweeps = [{**vars(new.sweep), "created_at": at} for new in requests if new.sweep is not None]
    insert_rows(session, _SWEEPS, sweeps)


def _row(job: NewJob, at: datetime) -> dict[str, Any]:
    return {
        **vars(job),
        "state": JobState.QUEUED,
        "version": 1,
        "attempt": 0,
        "failures": 0,
        "crashes": 0,
        "next_epoch": 0,
        "spec": job.spec.model_dump(mode="json"),
        "tags": list(job.tags),
        "place": places.of_new_job(job.priority, at),
        "scheduled_at": at,
        "created_at": at,
    }


def add_tags(session: Session, tags: Mapping[UUID, Sequence[str]]) -> None:
    """Add jobs, by id, to the index of jobs by tag."""
    rows = [{"job_id": job_id, "tag": tag} for job_id, names in tags.items() for tag in names]
    insert_rows(session, _TAGS, rows)
