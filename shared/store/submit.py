"""Submission: stores queued jobs, once for each idempotency key."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from shared.db.bulk_insert import insert_rows
from shared.db.clock import Now, database_now
from shared.db.tables import Base, Job, JobTag, Sweep
from shared.errors import JobNotFound
from shared.lifecycle import JobState
from shared.schemas import Priority
from shared.store import dependencies, yielding
from shared.store.dependencies import Refusal
from shared.store.idempotency import Idempotency, KeyOwner, claim_keys, release_keys, reused
from shared.store.places import DEFAULT_RULES, Rules
from shared.store.shares import Applicant, take_places
from shared.store.submissions import ANYONE, NewJob, NewJobs, Outcome, Receipt, Submitter
from shared.store.transitions import log_submitted

_JOBS, _TAGS, _SWEEPS = (Base.metadata.tables[table.__tablename__] for table in (Job, JobTag, Sweep))
# built once, which takes as long as running it
_CREATED_AT = select(_JOBS.c.id, _JOBS.c.created_at).where(_JOBS.c.id.in_(bindparam("ids", expanding=True)))


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
        JobNotFound: the job that it retries, or that it is to run after, does not exist.
        PredecessorFailed: a job that it is to run after has failed or was cancelled.
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
        For each request its receipt, or the error that its key was used for a different request, that a job
        that it names does not exist, or that one that it is to run after has not succeeded.
    """
    at = session.execute(select(now())).scalar_one()
    predecessors = dependencies.lock(session, {job_id for new in requests for job_id in new.after})
    sources = _lock_sources(session, requests)
    owners = claim_keys(session, [claim for new in requests if (claim := _claim_of(new)) is not None], at)
    stored = _stored(session, requests)  # by a commit that was not confirmed
    # a repeated request needs nothing of what the first one needed, such as a job that was deleted since
    first = [new for new in requests if new.id not in stored and _owner(new, owners).job_id == new.id]
    refused = _refused(first, predecessors, sources)
    release_keys(session, [new.idempotency for new in first if new.id in refused and new.idempotency])
    accepted = [new for new in first if new.id not in refused]
    _insert(session, accepted, _places(session, accepted, at, rules, now), predecessors, at)
    _have_others_yield(session, accepted, rules, now)
    return [_outcome(new, _owner(new, owners), refused, stored.get(new.id, at)) for new in requests]


def _lock_sources(session: Session, requests: Sequence[NewJobs]) -> set[UUID]:
    """Lock the jobs that are retried, so that none is deleted meanwhile; return those that exist."""
    retried = {job.retry_of for new in requests for job in new.jobs if job.retry_of is not None}
    if not retried:
        return set()
    lock = select(Job.id).where(Job.id.in_(retried)).order_by(Job.id)
    return set(session.scalars(lock.with_for_update(read=True, key_share=True)))


def _refused(
    requests: Sequence[NewJobs], predecessors: Mapping[UUID, JobState], sources: AbstractSet[UUID]
) -> dict[UUID, Refusal]:
    """Return the errors of requests that name a job which is not there, or has not succeeded, by request."""
    refused: dict[UUID, Refusal] = {
        new.id: JobNotFound(f"there is no job {job.retry_of}")
        for new in requests
        for job in new.jobs
        if job.retry_of is not None and job.retry_of not in sources
    }
    return refused | dependencies.refusals({new.id: new.after for new in requests}, predecessors)


def _stored(session: Session, requests: Sequence[NewJobs]) -> dict[UUID, datetime]:
    """Return when each of the requests that are stored already was."""
    rows = session.connection().execute(_CREATED_AT, {"ids": [request.id for request in requests]})
    return dict(rows.all())


def _claim_of(new: NewJobs) -> tuple[Idempotency, KeyOwner] | None:
    if new.idempotency is None:
        return None
    return new.idempotency, KeyOwner(new.idempotency.request_sha256, new.id, new.sweep_id)


def _owner(new: NewJobs, owners: Mapping[str, KeyOwner]) -> KeyOwner:
    """Return whose a request's key is: its own if it has none."""
    return KeyOwner("", new.id) if new.idempotency is None else owners[new.idempotency.stored_key]


def _outcome(new: NewJobs, owner: KeyOwner, refused: Mapping[UUID, Refusal], created_at: datetime) -> Outcome:
    if new.idempotency is not None and owner.request_sha256 != new.idempotency.request_sha256:
        return reused(new.idempotency.key)
    if owner.job_id in refused:
        return refused[owner.job_id]
    return (
        Receipt(new.id, created_at) if owner.job_id == new.id else Receipt(owner.job_id, None, owner.sweep_id)
    )


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
    session: Session,
    requests: Sequence[NewJobs],
    places: Mapping[UUID, float],
    predecessors: Mapping[UUID, JobState],
    at: datetime,
) -> None:
    jobs = [job for new in requests for job in new.jobs]
    rows = [_row(job, new, places[job.id], predecessors, at) for new in requests for job in new.jobs]
    insert_rows(session, _JOBS, rows)
    dependencies.add(session, {job.id: job.after for job in jobs if job.after}, predecessors)
    log_submitted(session, [job.id for job in jobs], at)
    add_tags(session, {job.id: job.tags for job in jobs})
    sweeps = [{**vars(new.sweep), "created_at": at} for new in requests if new.sweep is not None]
    insert_rows(session, _SWEEPS, sweeps)


def _row(
    job: NewJob, new: NewJobs, place: float, predecessors: Mapping[UUID, JobState], at: datetime
) -> dict[str, Any]:
    return {
        **{name: value for name, value in vars(job).items() if name != "after"},
        "waits_for": dependencies.pending(job.after, predecessors),
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
        "traceparent": new.traceparent,
        "place": place,
        "scheduled_at": job.scheduled_at(at),
        "created_at": at,
    }


def add_tags(session: Session, tags: Mapping[UUID, Sequence[str]]) -> None:
    """Add jobs, by id, to the index of jobs by tag."""
    rows = [{"job_id": job_id, "tag": tag} for job_id, names in tags.items() for tag in names]
    insert_rows(session, _TAGS, rows)
