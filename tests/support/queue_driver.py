"""A driver of the queue: does to jobs what the API, workers and reconcilers do, each step in one transaction.

Tests outside the store's own make and change jobs by it alone. A verb (`submit`, `claim`, `record`) is one
step; a participle (`running`, `failed`) submits a job and takes it to that state.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.errors import StaleAttempt
from shared.formats.results import NewResult, Produced
from shared.lifecycle import JobState
from shared.store import attempts, claims, dispatch, environments, job_edits, job_logs, recovery
from shared.store.attempts import Success
from shared.store.claims import Claim as Claim
from shared.store.dispatch import Waker
from shared.store.job_logs import Line
from shared.store.known_turns import KnownTurns
from shared.store.progress import NO_PROGRESS, Progress
from shared.store.recovery import WORKER_LOST as WORKER_LOST
from shared.store.submissions import ANYONE as ANYONE
from shared.store.submissions import NewJob as NewJob
from shared.store.submissions import NewJobs, NewSweep, Submitter
from shared.store.submit import submit_jobs
from shared.store.transitions import AttemptFailure as AttemptFailure
from shared.store.transitions import AttemptId as AttemptId
from tests.support import stored
from tests.support.factories import (
    NewModel,
    make_epoch,
    make_model,
    make_new_job,
    make_progress,
    make_spec,
    make_worker_info,
)

LEASE_S = 30.0
MAX_LOST = 3  # of a job's attempts without progress, before it fails


def submit(
    database: Database,
    *,
    tenant: str = "",
    key_id: UUID | None = None,
    now: Now = database_now,
    **overrides: Any,
) -> UUID:
    """Submit a job, for a tenant and with an API key; return its id."""
    [job_id] = submit_all(database, [make_new_job(**overrides)], submitter=Submitter(tenant, key_id), now=now)
    return job_id


def submit_all(
    database: Database,
    jobs: Sequence[NewJob],
    sweep: NewSweep | None = None,
    *,
    submitter: Submitter = ANYONE,
    now: Now = database_now,
) -> list[UUID]:
    """Submit jobs by one request, perhaps as a sweep; return their ids."""
    request = NewJobs(jobs, None, sweep, submitter)
    [outcome] = database.write(lambda session: submit_jobs(session, [request], now=now))
    if isinstance(outcome, Exception):
        raise outcome
    return [job.id for job in jobs]


def submit_cancelled(database: Database, new: NewJob) -> None:
    """Submit a job and cancel it in the same transaction, so that no worker can claim it."""

    def work(session: Session) -> None:
        submit_jobs(session, [NewJobs([new])])
        job_edits.request_cancel(session, new.id)

    database.write(work)


def submit_sweep(
    database: Database, name: str | None = None, *, key_id: UUID | None = None, **parameters: Sequence[Any]
) -> tuple[UUID, list[UUID]]:
    """Submit a sweep with a job for each combination of values; return its id and theirs."""
    sweep_id = uuid7()
    combinations = [dict(zip(parameters, values, strict=True)) for values in product(*parameters.values())]
    jobs = [make_new_job(spec=make_spec(**values), sweep_id=sweep_id) for values in combinations]
    request = {"strategy": "grid", "parameters": {name: list(values) for name, values in parameters.items()}}
    new = NewSweep(sweep_id, name, request)
    return sweep_id, submit_all(database, jobs, new, submitter=Submitter(api_key_id=key_id))


def wake(waker: Waker, queue: str = "default", count: int = 1) -> None:
    """Send messages that wake workers up, and lose them without Redis."""
    dispatch.wake(waker, {queue: count})


def claim_next(
    database: Database,
    *queues: str,
    worker: str = "worker-1",
    owner: str | None = None,
    lease_s: float = LEASE_S,
    before_all: UUID | None = None,
    versions: Mapping[str, str] | None = None,
    known: KnownTurns | None = None,
    now: Now = database_now,
) -> Claim | None:
    """Have a worker claim the next job of the queues, by default `default`, or an urgent one before all.

    What it runs with is stored if `versions` are given, and unknown else.
    """
    info = make_worker_info(name=worker, versions=versions or {})
    claim = partial(
        claims.claim,
        queues=queues or ([] if before_all else ["default"]),
        worker=info,
        owner=owner or f"{worker}/{uuid7()}",
        lease_s=lease_s,
        before_all=before_all,
        known=known,
        now=now,
    )

    def work(session: Session) -> Claim | None:
        if versions is not None:
            environments.store(session, versions, now=now)
        return claim(session)

    return database.write(work)


def claim(database: Database, job_id: UUID, **overrides: Any) -> Claim:
    """Have a worker claim a job as if it were the first of its queue, with overrides of `claim_next`."""
    claim = claim_next(database, before_all=job_id, **overrides)
    assert claim is not None, f"job {job_id} could not be claimed"
    assert claim.attempt.job_id == job_id, f"job {claim.attempt.job_id} was claimed before job {job_id}"
    return claim


def record(
    database: Database, attempt: AttemptId, epochs: int, *, first: int = 0, keep_weights: bool = False
) -> None:
    """Record some epochs, each in a transaction of its own."""
    for epoch in map(make_epoch, range(first, first + epochs)):
        record_progress(database, attempt, make_progress(epoch, keep_weights=keep_weights))


def record_progress(database: Database, attempt: AttemptId, progress: Progress) -> None:
    """Record progress of an attempt."""
    database.write(partial(attempts.record, attempt=attempt, progress=progress, lease_s=LEASE_S))


def log(database: Database, attempt: AttemptId, lines: Sequence[Line]) -> None:
    """Append lines to the log of an attempt."""
    database.write(partial(job_logs.append, lines={attempt: lines}))


def succeed(database: Database, attempt: AttemptId, model: NewModel, *, now: Now = database_now) -> None:
    """Report that a training job's attempt has succeeded with a model, which gets the id of the job."""
    model.id = attempt.job_id
    if model.spec is not None:
        stored.set_columns(database, attempt.job_id, spec=model.spec.model_dump(mode="json"))
    report(database, attempt, model.produced, now=now)


def succeed_evaluation(database: Database, attempt: AttemptId, model_id: UUID, evaluation: NewResult) -> None:
    """Report that the attempt of a job that evaluates a model has succeeded."""
    report(database, attempt, Produced(result=evaluation), evaluated=model_id)


def succeed_attempt(
    session: Session,
    attempt: AttemptId,
    produced: Produced,
    progress: Progress = NO_PROGRESS,
    *,
    evaluated: UUID | None = None,
    now: Now = database_now,
) -> None:
    """Report in a transaction that an attempt has succeeded; raise StaleAttempt if its job has left it."""
    success = Success(attempt, produced, progress, evaluated)
    if attempts.succeed_each(session, [success], now=now):
        raise StaleAttempt(str(attempt))


def report(
    database: Database,
    attempt: AttemptId,
    produced: Produced,
    *,
    evaluated: UUID | None = None,
    now: Now = database_now,
) -> None:
    """Report that an attempt has succeeded, with whatever it has produced."""
    succeed = partial(succeed_attempt, produced=produced, evaluated=evaluated, now=now)
    database.write(partial(succeed, attempt=attempt))


def fail(
    database: Database,
    attempt: AttemptId,
    code: str = "internal",
    message: str = "it broke",
    *,
    retry_in_s: float | None = None,
    now: Now = database_now,
) -> None:
    """Report that an attempt has failed; its job is tried again if `retry_in_s` is given."""
    report = partial(attempts.fail, failure=AttemptFailure(code, message), retry_in_s=retry_in_s, now=now)
    database.write(partial(report, attempt=attempt))


def release(
    database: Database,
    attempt: AttemptId,
    progress: Progress = NO_PROGRESS,
    *,
    preempted_by: UUID | None = None,
) -> None:
    """Have a worker return its job to the queue."""
    report = partial(attempts.release, progress=progress, preempted_by=preempted_by)
    database.write(partial(report, attempt=attempt))


def cancel(database: Database, *job_ids: UUID) -> None:
    """Cancel queued jobs; request it of the workers that run jobs."""

    def work(session: Session) -> None:
        for job_id in job_ids:
            job_edits.request_cancel(session, job_id)

    database.write(work)


def report_cancelled(database: Database, attempt: AttemptId) -> None:
    """Report that an attempt has ended because its cancel was requested."""
    database.write(partial(attempts.cancel_attempt, attempt=attempt))


def expire(database: Database, attempt: AttemptId) -> None:
    """Have the lease of an attempt run out, and a reconciler take its job back."""
    stored.set_columns(database, attempt.job_id, lease_expires_at=database_now(-1.0))
    reap = partial(recovery.reap, max_lost_attempts=MAX_LOST, lease_s=LEASE_S, only=attempt.job_id)
    assert [lost.attempt for lost in database.write(reap)] == [attempt]


def lose(
    database: Database, process: str, reason: str = "it was killed", *, output: str = ""
) -> list[AttemptId]:
    """Have the parent of a pool process take back the job of this process, which has ended."""
    take = partial(recovery.take_from, process=process, reason=reason, output=output)
    return [each.attempt for each in database.write(partial(take, max_lost_attempts=MAX_LOST))]


def edit(database: Database, job_id: UUID, **values: Any) -> None:
    """Change a job's name, tags, queue or priority."""
    database.write(partial(job_edits.edit, job_id=job_id, values=values))


def delete(database: Database, job_id: UUID) -> None:
    """Delete a finished job with all that belongs to it."""
    database.write(partial(job_edits.delete_job, job_id=job_id))


def running(database: Database, **overrides: Any) -> AttemptId:
    """Submit a job and have a worker claim it."""
    return claim(database, submit(database, **overrides)).attempt


def succeeded(database: Database, **overrides: Any) -> tuple[UUID, NewModel]:
    """Submit a training job that succeeds after 3 epochs; return its id and its model."""
    attempt, model = running(database, **overrides), make_model()
    record(database, attempt, 3)
    succeed(database, attempt, model)
    return attempt.job_id, model


def failed(database: Database, **overrides: Any) -> UUID:
    """Submit a job that fails."""
    attempt = running(database, **overrides)
    fail(database, attempt)
    return attempt.job_id


def cancelled(database: Database, **overrides: Any) -> UUID:
    """Submit a job and cancel it while it is queued."""
    job_id = submit(database, **overrides)
    cancel(database, job_id)
    return job_id


def one_of_each_state(database: Database) -> dict[JobState, UUID]:
    """Store a job in every state; return their ids."""
    return {
        JobState.QUEUED: submit(database),
        JobState.RUNNING: running(database).job_id,
        JobState.SUCCEEDED: succeeded(database)[0],
        JobState.FAILED: failed(database),
        JobState.CANCELLED: cancelled(database),
    }
