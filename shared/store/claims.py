"""Claims: a worker takes the next job of a queue and starts an attempt at it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.tables import IS_RUNNING, Attempt, Job
from shared.lifecycle import EventType, JobKind
from shared.store import places, results
from shared.store.transitions import AttemptId, change
from shared.store.workers import WorkerInfo, may_claim


@dataclass(frozen=True)
class Claim:
    """A claimed job: the attempt that holds the lease, and what it needs to run."""

    attempt: AttemptId
    kind: JobKind
    spec: dict[str, Any]
    max_runtime_s: float | None
    checkpoint: results.StoredCheckpoint | None
    failures: int
    request_id: str | None


def claim(
    session: Session,
    queues: Sequence[str],
    *,
    worker: WorkerInfo,
    owner: str,
    lease_s: float,
    now: Now = database_now,
) -> Claim | None:
    """Claim the next job of the first of these queues that has one, with a lease of `lease_s` seconds.

    Args:
        owner: unique for each call, so that a transaction that is run again finds its own claim.

    Returns:
        None if no job is queued and due, the queues that have some are paused, or this worker is draining.
    """
    for queue in queues:
        if _start_attempt(session, queue, worker, owner, lease_s, now):
            break
    job = session.scalars(select(Job).where(IS_RUNNING, Job.lease_owner == owner)).one_or_none()
    if job is None:
        return None
    checkpoint = results.checkpoint(session, job.id) if job.next_epoch else None
    if checkpoint is None or checkpoint.next_epoch != job.next_epoch:
        checkpoint = None
        _train_from_the_start(session, job)
    return Claim(
        attempt=AttemptId(job.id, job.attempt),
        kind=JobKind(job.kind),
        spec=job.spec,
        max_runtime_s=job.max_runtime_s,
        checkpoint=checkpoint,
        failures=job.failures,
        request_id=job.request_id,
    )


def _start_attempt(
    session: Session, queue: str, worker: WorkerInfo, owner: str, lease_s: float, now: Now
) -> bool:
    # another claim may have locked the next job: then the one after it is next
    next_job = places.due(queue, now=now).with_only_columns(Job.id).order_by(*places.ORDER).limit(1)
    claimed = change(
        session,
        EventType.CLAIMED,
        next_job.with_for_update(key_share=True, skip_locked=True).scalar_subquery(),
        may_claim(worker.name),
        ~_is_owner(owner),
        attempt=Job.attempt + 1,
        lease_owner=owner,
        lease_expires_at=now(lease_s),
        started_at=func.coalesce(Job.started_at, now()),
        data={"worker": worker.name},
        now=now,
    )
    if claimed is None:
        return False
    attempt = {
        "job_id": claimed.job_id,
        "number": claimed.attempt,
        "started_at": now(),
        "worker": worker.name,
    }
    session.execute(insert(Attempt).values(**attempt, device=worker.device, versions=worker.versions))
    return True


def _is_owner(owner: str) -> ColumnElement[bool]:
    """SQL for whether an owner has claimed a job, by a transaction whose commit was not confirmed."""
    return select(Job.id).where(IS_RUNNING, Job.lease_owner == owner).exists()


def _train_from_the_start(session: Session, job: Job) -> None:
    """Drop the epochs of a job without a valid checkpoint; they are trained again, from the same seeds."""
    if job.next_epoch > 0:
        results.delete_epochs(session, job.id)
        job.next_epoch = 0
        job.loss = job.accuracy = job.val_loss = job.val_accuracy = None
