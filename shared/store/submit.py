"""Submission: stores queued jobs, once for each idempotency key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from shared import log
from shared.db.bulk_insert import insert_rows
from shared.db.clock import Now, database_now
from shared.db.tables import Base, Job, JobTag, Sweep
from shared.errors import IdempotencyKeyReused, JobNotFound
from shared.lifecycle import JobKind, JobState
from shared.schemas import Priority
from shared.store import yielding
from shared.store.idempotency import Idempotency, KeyOwner, claim_keys, reused
from shared.store.places import DEFAULT_RULES, Rules
from shared.store.shares import SHARED, Applicant, Share, take_places
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
        share: whose turn jobs outside of sweeps take.
        api_key_id: None for a key of the setting `API_KEYS`, and without a key.
    """

    share: Share = SHARED
    api_key_id: UUID | None = None


ANYONE = Submitter()
"""Someone whose share is not known."""


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
    submitter: Submitter = ANYONE

    @property
    def share(self) -> Share:
        """Whose turn the jobs take: a sweep is a share of its own."""
        own = self.submitter.share
        return own if self.sweep is None else Share(f"sweep {self.sweep.id}", own.weight)

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


def submit_job(
    session: Session,
    new: NewJob,
    *,
    idempotency: Idempotency | None = None,
    submitter: Submitter = ANYONE,
    rules: Rules = DEFAULT_RULES,
    now: Now = database_now,
) -> tuple[UUID, bool]:
    """Store one queued job as `submit_jobs` does.

    Returns:
        The job's id, and whether this call stored it. With an idempotency key that was used before, the id
        is that of the job that was stored with it.

    Raises:
        IdempotencyKeyReused: the key was used for a different request.
        JobNotFound: the job that it retries does not exist.
    """
    request = NewJobs([new], idempotency, submitter=submitter)
    [outcome] = submit_jobs(session, [request], rules=rules, now=now)
    if not isinstance(outcome, Receipt):
        raise outcome
    return outcome.job_id, not outcome.replayed


def submit_jobs(
    session: Session,
    requests: Sequence[NewJobs],
    *,
    rules: Rules = DEFAULT_RULES,
    now: Now = database_now,
) -> list[Outcome]:
    """Store the queued jobs of several requests, by one statement a table; the caller wakes the workers.

    Idempotent, for each request and whichever others it is repeated with: its transaction is run again if
    the commit was not confirmed. Of several requests with one idempotency key the first one is stored.

    Returns:
        For each request its receipt, or the error that its key was used for a different request, or that the
        job that it retries does not exist.
    """
    at = session.execute(select(now())).scalar_one()
    refused = _refused(session, requests)
    owners = claim_keys(
        session,
        [
            (new.idempotency, new.id)
            for new in requests
            if new.idempotency is not None and new.id not in refused
        ],
        at,
    )
    stored = _stored(session, requests)
    outcomes = [
        refused.get(request.id) or _outcome(request, owners, stored.get(request.id, at))
        for request in requests
    ]
    receipts = {outcome.job_id for outcome in outcomes if isinstance(outcome, Receipt)}
    accepted = [new for new in requests if new.id in receipts and new.id not in stored]
    _insert(session, accepted, _places(session, accepted, at, rules, now), at)
    _have_others_yield(session, accepted, rules, now)
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


def _outcome(new: NewJobs, owners: Mapping[str, KeyOwner], created_at: datetime) -> Outcome:
    if new.idempotency is None:
        return Receipt(new.id, created_at)
    key = new.idempotency.key
    owner = owners[key]
    if owner.request_sha256 != new.idempotency.request_sha256:
        return reused(key)
    return Receipt(owner.job_id, created_at if owner.job_id == new.id else None)


def _places(
    session: Session, requests: Sequence[NewJobs], at: datetime, rules: Rules, now: Now
) -> dict[UUID, float]:
    jobs = [(job, new.share) for new in requests for job in new.jobs]
    applicants = [Applicant(job.id, job.queue, job.priority, share) for job, share in jobs]
    given = take_places(session, applicants, at, rules=rules, now=now)
    # a job that starts later has its turn then, and those that can start now need not pass it
    return {job.id: max(given[job.id], rules.place_at(job.earliest_at, job.priority)) for job, _ in jobs}


def _have_others_yield(session: Session, requests: Sequence[NewJobs], rules: Rules, now: Now) -> None:
    urgent = {job.queue for new in requests for job in new.jobs if job.priority is Priority.URGENT}
    yielding.request(session, sorted(urgent), min_run_s=rules.min_run_s, now=now)


def _insert(
    session: Session, requests: Sequence[NewJobs], places: Mapping[UUID, float], at: datetime
) -> None:
    jobs = [job for new in requests for job in new.jobs]
    insert_rows(session, _JOBS, [_row(job, new, places[job.id], at) for new in requests for job in new.jobs])
    log_submitted(session, [job.id for job in jobs], at)
    add_tags(session, {job.id: job.tags for job in jobs})
    sweeps = [{**vars(new.sweep), "created_at": at} for new in requests if new.sweep is not None]
    insert_rows(session, _SWEEPS, sweeps)


def _row(job: NewJob, new: NewJobs, place: float, at: datetime) -> dict[str, Any]:
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
        "share": new.share.name,
        "api_key_id": new.submitter.api_key_id,
        "place": place,
        "scheduled_at": job.scheduled_at(at),
        "created_at": at,
    }


def add_tags(session: Session, tags: Mapping[UUID, Sequence[str]]) -> None:
    """Add jobs, by id, to the index of jobs by tag."""
    rows = [{"job_id": job_id, "tag": tag} for job_id, names in tags.items() for tag in names]
    insert_rows(session, _TAGS, rows)
