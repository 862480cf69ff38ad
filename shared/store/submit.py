"""Submission: stores queued jobs, once for each idempotency key."""

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.postgresql import unless_locked
from shared.db.statements import Statement, insert_rows
from shared.db.tables import Base, Job, JobTag, Sweep
from shared.errors import JobNotFound, ModelNotFound
from shared.lifecycle import JobState
from shared.schemas import Priority
from shared.store import dependencies, models, preemption
from shared.store.dependencies import Refusal
from shared.store.event_log import log_submitted
from shared.store.idempotency import (
    Idempotency,
    KeyOwner,
    claim_keys,
    find_owners,
    release_keys,
    reused,
)
from shared.store.places import DEFAULT_RULES, Applicant, Place, Rules, take_places
from shared.store.submissions import ANYONE, NewJob, NewJobs, Outcome, Receipt, Submitter, WouldWait

_JOBS, _TAGS, _SWEEPS = (Base.metadata.tables[table.__tablename__] for table in (Job, JobTag, Sweep))
_MAX_PREEMPTION_LOCK_S = 0.1

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
        ModelNotFound: the model that it evaluates was deleted.
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
    waits: bool = True,
    again: bool = True,
) -> list[Outcome]:
    """Store the queued jobs of several requests, by one statement a table; the caller wakes the workers.

    Idempotent, for each request and whichever others it is repeated with: its transaction is run again if
    the commit was not confirmed. Of several requests with one idempotency key the first one is stored.

    Args:
        waits: whether to wait for jobs and keys that other transactions have locked.
        again: whether one of them may have been tried before, so that a commit that was not confirmed has
            stored it.

    Returns:
        For each request its receipt, or the error that its key was used for a different request, that a job
        that it names does not exist, that one that it is to run after has not succeeded, or that it would
        have to wait.
    """
    at = _time(now).one_or_none(session, {}).at
    named = _lock_named(session, requests, waits=waits)
    blocked = {new.id: error for new in requests if (error := named.would_wait(new)) is not None}
    claims = [claim for new in requests if new.id not in blocked and (claim := _claim_of(new)) is not None]
    owners = claim_keys(session, claims, at, waits=waits)
    if blocked:
        keyed = [new.idempotency for new in requests if new.id in blocked and new.idempotency is not None]
        owners |= find_owners(session, keyed)
    stored = _stored(session, requests) if again else {}
    # a repeated request needs nothing of what the first one needed, such as a job that was deleted since
    first = [
        new for new in requests if new.id not in stored and new.id not in blocked and _is_first(new, owners)
    ]
    refused = _refused(session, first, named)
    release_keys(session, [new.idempotency for new in first if new.id in refused and new.idempotency])
    accepted = [new for new in first if new.id not in refused]
    _insert(session, accepted, _places(session, accepted, at, rules), named.predecessors, at)
    _preempt_others(session, accepted, rules, now)
    created_at = {new.id: at for new in accepted} | stored
    return [_outcome(new, owners, {**refused, **blocked}, created_at) for new in requests]


class _Named(NamedTuple):
    """The jobs and models that requests name, locked: predecessors' states, and which others exist.

    Attributes:
        held_jobs, held_models: those that other transactions have locked.
    """

    predecessors: Mapping[UUID, JobState]
    retried: AbstractSet[UUID]
    evaluated: AbstractSet[UUID]
    held_jobs: AbstractSet[UUID]
    held_models: AbstractSet[UUID]

    def would_wait(self, new: NewJobs) -> WouldWait | None:
        """Return the error that a request would have to wait for one of them; None if not."""
        if held := self.held_jobs & (new.after | new.retried):
            return WouldWait(f"another transaction has locked job {min(held)}")
        if held := self.held_models & new.evaluated(self.predecessors):
            return WouldWait(f"another transaction has locked model {min(held)}")
        return None


def _lock_named(session: Session, requests: Sequence[NewJobs], *, waits: bool) -> _Named:
    """Lock what requests name, so that no job of it ends and nothing of it is deleted meanwhile."""
    after = {job_id for new in requests for job_id in new.after}
    predecessors = dependencies.lock(session, after, waits=waits)
    retried: set[UUID] = set()
    if wanted := {job_id for new in requests for job_id in new.retried}:
        lock = select(Job.id).where(Job.id.in_(wanted)).order_by(Job.id)
        retried |= set(
            session.scalars(lock.with_for_update(read=True, key_share=True, skip_locked=not waits))
        )
    needed = {model_id for new in requests for model_id in new.evaluated(predecessors)}
    evaluated = models.lock_stored(session, needed, waits=waits)
    held_jobs, held_models = set[UUID](), set[UUID]()
    if not waits:
        if absent := (after - predecessors.keys()) | (wanted - retried):
            held_jobs |= set(session.scalars(select(Job.id).where(Job.id.in_(absent))))
        held_models |= models.stored(session, needed - evaluated)
    return _Named(predecessors, retried, evaluated, held_jobs, held_models)


def _refused(session: Session, requests: Sequence[NewJobs], named: _Named) -> dict[UUID, Refusal]:
    """Return the errors of requests that name what is not there, has not succeeded or too many wait for."""
    refused: dict[UUID, Refusal] = {
        new.id: JobNotFound(f"there is no job {min(absent)}")
        for new in requests
        if (absent := new.retried - named.retried)
    }
    refused |= {
        new.id: ModelNotFound(f"there is no model {min(absent)}: it was deleted")
        for new in requests
        if (absent := new.evaluated(named.predecessors) - named.evaluated)
    }
    after = {new.id: Counter(job_id for job in new.jobs for job_id in job.after) for new in requests}
    refused |= dependencies.over_limit(session, after, named.predecessors)
    return refused | dependencies.refusals(after, named.predecessors)


@lru_cache
def _time(now: Now) -> Statement:
    return Statement(select(now().label("at")))


def _stored(session: Session, requests: Sequence[NewJobs]) -> dict[UUID, datetime]:
    """Return when each of the requests that are stored already was."""
    rows = session.connection().execute(_CREATED_AT, {"ids": [request.id for request in requests]})
    return dict(rows.all())


def _claim_of(new: NewJobs) -> tuple[Idempotency, KeyOwner] | None:
    if new.idempotency is None:
        return None
    return new.idempotency, KeyOwner(new.idempotency.request_sha256, new.id, new.sweep_id)


def _is_first(new: NewJobs, owners: Mapping[str, KeyOwner]) -> bool:
    """Return whether a request is the first one with its key, or has none."""
    owner = owners.get(new.idempotency.stored_key) if new.idempotency is not None else None
    return new.idempotency is None or (owner is not None and owner.job_id == new.id)


def _outcome(
    new: NewJobs,
    owners: Mapping[str, KeyOwner],
    errors: Mapping[UUID, Refusal | WouldWait],
    created_at: Mapping[UUID, datetime],
) -> Outcome:
    if new.id in created_at:
        return Receipt(new.id, created_at[new.id])
    error, key = errors.get(new.id), new.idempotency
    if key is not None and (owner := owners.get(key.stored_key)) is not None:
        is_same = owner.request_sha256 == key.request_sha256
        if owner.job_id not in errors:
            return Receipt(owner.job_id, None, owner.sweep_id) if is_same else reused(key.key)
        if is_same:
            error = error or errors[owner.job_id]
    return error or WouldWait("another request with its idempotency key is being stored")


def _places(session: Session, requests: Sequence[NewJobs], at: datetime, rules: Rules) -> dict[UUID, Place]:
    applicants = [
        Applicant(job.id, job.queue, new.submitter.tenant, job.priority, job.sweep_id, job.earliest_at)
        for new in requests
        for job in new.jobs
    ]
    return take_places(session, applicants, at, rules=rules)


def _preempt_others(session: Session, requests: Sequence[NewJobs], rules: Rules, now: Now) -> None:
    urgent = {job.queue for new in requests for job in new.jobs if job.priority is Priority.URGENT}
    if urgent:
        # a job that another transaction has locked is asked by the reconciler
        with unless_locked(session, _MAX_PREEMPTION_LOCK_S):
            preemption.request(session, sorted(urgent), min_run_s=rules.min_run_s, now=now)


def _insert(
    session: Session,
    requests: Sequence[NewJobs],
    places: Mapping[UUID, Place],
    predecessors: Mapping[UUID, JobState],
    at: datetime,
) -> None:
    jobs = [job for new in requests for job in new.jobs]
    rows = [_row(job, new, places[job.id], predecessors, at) for new in requests for job in new.jobs]
    insert_rows(session, _JOBS, rows)
    dependencies.add(session, {job.id: job.after for job in jobs if job.after}, predecessors)
    log_submitted(session, {job.id: new.submitter.by for new in requests for job in new.jobs}, at)
    add_tags(session, {job.id: job.tags for job in jobs})
    sweeps = [{**vars(new.sweep), "created_at": at} for new in requests if new.sweep is not None]
    insert_rows(session, _SWEEPS, sweeps)


def _row(
    job: NewJob, new: NewJobs, place: Place, predecessors: Mapping[UUID, JobState], at: datetime
) -> dict[str, Any]:
    return {
        **{name: value for name, value in vars(job).items() if name != "after"},
        "pending_predecessors": dependencies.pending(job.after, predecessors),
        "state": JobState.QUEUED,
        "version": 1,
        "attempt": 0,
        "failures": 0,
        "lost_attempts": 0,
        "next_epoch": 0,
        "spec": job.spec.model_dump(mode="json"),
        "tags": list(job.tags),
        "tenant": new.submitter.tenant,
        "api_key_id": new.submitter.api_key_id,
        "traceparent": new.traceparent,
        **vars(place),
        "scheduled_at": job.scheduled_at(at),
        "created_at": at,
    }


def add_tags(session: Session, tags: Mapping[UUID, Sequence[str]]) -> None:
    """Add jobs, by id, to the index of jobs by tag."""
    rows = [{"job_id": job_id, "tag": tag} for job_id, names in tags.items() for tag in names]
    insert_rows(session, _TAGS, rows)
