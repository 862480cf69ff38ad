"""Submission: stores queued jobs, once for each idempotency key."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from shared.db.bulk_insert import insert_rows
from shared.db.clock import Now, database_now
from shared.db.tables import Base, Job, JobTag, Sweep
from shared.errors import JobNotFound, ModelNotFound
from shared.lifecycle import JobState
from shared.schemas import Priority
from shared.store import dependencies, models, yielding
from shared.store.dependencies import Refusal
from shared.store.idempotency import Idempotency, KeyOwner, claim_keys, reused
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
        TooManyWait: too many jobs wait for it, or for each other.
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
    refused = _refused(session, requests, predecessors)
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
    _insert(session, accepted, _places(session, accepted, at, rules, now), predecessors, at)
    _have_others_yield(session, accepted, rules, now)
    return outcomes


def _refused(
    session: Session, requests: Sequence[NewJobs], predecessors: Mapping[UUID, JobState]
) -> dict[UUID, Refusal]:
    """Lock the jobs that are retried, and the models that are evaluated, so that none is deleted meanwhile.

    Returns:
        The errors by request.
    """
    retried = {job.retry_of for new in requests for job in new.jobs if job.retry_of is not None}
    existing: set[UUID | None] = {None}
    if retried:
        lock = select(Job.id).where(Job.id.in_(retried)).order_by(Job.id)
        existing |= set(session.scalars(lock.with_for_update(read=True, key_share=True)))
    refused: dict[UUID, Refusal] = {
        new.id: JobNotFound(f"there is no job {job.retry_of}")
        for new in requests
        for job in new.jobs
        if job.retry_of not in existing
    }
    evaluated = {job.model_id for new in requests for job in new.jobs if job.model_id is not None}
    models_kept = models.lock_stored(session, evaluated)
    refused |= {
        new.id: ModelNotFound(f"there is no model {job.model_id}: it was deleted")
        for new in requests
        for job in new.jobs
        # the model of a job in `after` is to come
        if job.model_id not in {None, *job.after, *models_kept}
    }
    after = {new.id: Counter(job_id for job in new.jobs for job_id in job.after) for new in requests}
    refused |= dependencies.over_limit(session, after, predecessors)
    refused |= dependencies.refusals(after, predecessors)
    stored = _stored(session, requests) if refused else {}  # by a commit that was not confirmed
    return {request_id: error for request_id, error in refused.items() if request_id not in stored}


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
