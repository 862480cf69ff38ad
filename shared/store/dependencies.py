"""Dependencies: jobs that start only after others, their predecessors, have succeeded.

A job counts those that it still waits for. The transaction in which a predecessor succeeds counts it off, and
that in which one fails or is cancelled cancels the jobs that wait for it. Both find the predecessor's row
locked while a job that names it is stored, so that neither misses the other.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from shared.db.bulk_insert import insert_rows
from shared.db.tables import IS_QUEUED, Base, Job, JobDependency
from shared.errors import JobNotFound, PredecessorFailed
from shared.lifecycle import TERMINAL, JobState

Refusal = JobNotFound | PredecessorFailed
"""The error of a request that names a job."""

_DEPENDENCIES = Base.metadata.tables[JobDependency.__tablename__]


def lock(session: Session, job_ids: Collection[UUID], *, waits: bool = True) -> dict[UUID, JobState]:
    """Lock jobs that new ones are to run after until this transaction ends; return their states by id.

    Args:
        waits: whether to wait for jobs that other transactions have locked; else they are left out.
    """
    if not job_ids:
        return {}
    rows = select(Job.id, Job.state).where(Job.id.in_(job_ids)).order_by(Job.id)
    states = session.execute(rows.with_for_update(key_share=True, skip_locked=not waits)).all()
    return {row.id: JobState(row.state) for row in states}


def refusals(after: Mapping[UUID, Collection[UUID]], states: Mapping[UUID, JobState]) -> dict[UUID, Refusal]:
    """Return the errors of requests whose jobs could never start, by request.

    Args:
        after: the predecessors that each request names.
        states: what `lock` returned.
    """
    errors: dict[UUID, Refusal] = {}
    for request_id, after_ids in after.items():
        for after_id in after_ids:
            state = states.get(after_id)
            if state is None:
                errors[request_id] = JobNotFound(f"there is no job {after_id}")
            elif state in (JobState.FAILED, JobState.CANCELLED):
                errors[request_id] = PredecessorFailed(
                    f"job {after_id} has {ended(state)}, so that no job can run after it: retry it, and "
                    "name the new job"
                )
    return errors


def ended(state: JobState) -> str:
    """Return how a job has ended, to be read after `has`."""
    return "been cancelled" if state == JobState.CANCELLED else state


def add(session: Session, after: Mapping[UUID, Sequence[UUID]], states: Mapping[UUID, JobState]) -> None:
    """Have new jobs wait for those of their predecessors that have not ended.

    Args:
        after: the predecessors of each new job.
        states: what `lock` returned.
    """
    pending = [
        {"job_id": job_id, "after_id": after_id}
        for job_id, after_ids in after.items()
        for after_id in after_ids
        if states[after_id] not in TERMINAL
    ]
    insert_rows(session, _DEPENDENCIES, pending)
    if pending:
        awaited = {row["after_id"] for row in pending}
        session.execute(update(Job).where(Job.id.in_(awaited)).values(has_dependents=True))


def pending(after: Sequence[UUID], states: Mapping[UUID, JobState]) -> int:
    """Return for how many of its predecessors a new job waits."""
    return sum(states[after_id] not in TERMINAL for after_id in after)


def count_off(session: Session, predecessor: UUID) -> list[UUID]:
    """Note that a job has succeeded; return the ids of the jobs that wait for one less."""
    waiting = _waiting_for(predecessor)
    fewer = update(Job).where(Job.id.in_(waiting), IS_QUEUED).values(waits_for=Job.waits_for - 1)
    return list(session.scalars(fewer.returning(Job.id)))


def cancel_dependents(session: Session, predecessor: UUID, cancel: Callable[[UUID], object]) -> None:
    """Cancel the jobs that wait for a job that has not succeeded, in the order of their ids."""
    still_waiting = select(Job.id).where(Job.id.in_(_waiting_for(predecessor)), IS_QUEUED).order_by(Job.id)
    for job_id in session.scalars(still_waiting).all():
        cancel(job_id)


def predecessors(session: Session, job_id: UUID) -> list[UUID]:
    """Return the ids of the jobs that had not ended when a job was submitted to run after them."""
    named = select(JobDependency.after_id).where(JobDependency.job_id == job_id)
    return list(session.scalars(named.order_by(JobDependency.after_id)))


def _waiting_for(predecessor: UUID) -> Select[UUID]:
    return select(JobDependency.job_id).where(JobDependency.after_id == predecessor)
