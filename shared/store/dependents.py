"""Dependents of an ended job: its success lets them wait for one job fewer, any other end cancels them.

Dependents are updated in batches, and rows that another transaction has locked are skipped. A job that has
ended while others still wait for it is recorded in the table `ended_predecessors`. Any process can continue
from there, because the remaining work follows from the rows of the jobs.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ScalarSelect, Select, delete, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from shared.db.tables import IS_QUEUED, EndedPredecessor, Job, JobDependency
from shared.db.upserts import insert_new
from shared.lifecycle import JobState

_PREDECESSOR = aliased(Job)


def _awaited() -> ScalarSelect[int]:
    """Return SQL for the number of predecessors that have not succeeded, of the enclosing statement's job."""
    named = select(func.count()).join_from(
        JobDependency, _PREDECESSOR, _PREDECESSOR.id == JobDependency.after_id
    )
    has_not = named.where(JobDependency.job_id == Job.id, _PREDECESSOR.state != JobState.SUCCEEDED)
    return has_not.correlate(Job).scalar_subquery()


def _state_of_waiting() -> ScalarSelect[str]:
    """Return SQL for the state of the waiting job, of the enclosing statement's dependency.

    Not a join, which PostgreSQL might begin with all queued jobs, again for each job of a chain.
    """
    return select(Job.state).where(Job.id == JobDependency.job_id).correlate(JobDependency).scalar_subquery()


def count_off(session: Session, succeeded: Collection[UUID], limit: int) -> list[UUID]:
    """Count the pending predecessors again of up to `limit` jobs that wait for jobs that have succeeded.

    Returns:
        The ids of the jobs that now wait for fewer predecessors.
    """
    if not succeeded:
        return []
    waiting = select(JobDependency.job_id).where(JobDependency.after_id.in_(succeeded))
    behind = select(Job.id).where(Job.id.in_(waiting), IS_QUEUED, Job.pending_predecessors > _awaited())
    # counted by a statement after the lock, because a statement sees only commits before its own beginning
    ids = session.scalars(_locked(behind).limit(limit)).all()
    counted = update(Job).where(Job.id.in_(ids)).values(pending_predecessors=_awaited())
    session.execute(counted, execution_options=_AS_IT_IS)
    return list(ids)


def doomed(session: Session, ended: Collection[UUID], limit: int) -> dict[UUID, UUID]:
    """Return jobs that can never start: a predecessor has ended without success, or can never start either.

    Args:
        ended: jobs that have ended without success.
        limit: the most jobs to return; a chain is followed from its first job on.

    Returns:
        The ids of the jobs, each with the id of the predecessor that keeps it from starting.
    """
    if not ended:
        return {}
    waits = select(JobDependency.job_id, JobDependency.after_id)
    waits = waits.where(_state_of_waiting() == JobState.QUEUED)
    first = waits.where(JobDependency.after_id.in_(ended)).cte("doomed", recursive=True)
    found = first.union(waits.join(first, first.c.job_id == JobDependency.after_id))
    rows = session.execute(select(found.c.job_id, found.c.after_id).limit(limit)).all()
    return {row.job_id: row.after_id for row in reversed(rows)}


def lock_queued(session: Session, job_ids: Collection[UUID]) -> list[UUID]:
    """Lock those of these jobs that are queued and not locked by other transactions; return their ids."""
    return list(session.scalars(_locked(select(Job.id).where(Job.id.in_(job_ids), IS_QUEUED))))


def note_left(session: Session, ended: Collection[UUID]) -> None:
    """Record the ended jobs for which others still wait, including jobs that were submitted meanwhile."""
    predecessor = aliased(Job)
    is_behind = select(Job.pending_predecessors > _awaited()).where(Job.id == JobDependency.job_id, IS_QUEUED)
    is_doomed = (predecessor.state != JobState.SUCCEEDED) & (_state_of_waiting() == JobState.QUEUED)
    is_left = or_(is_doomed, is_behind.correlate(JobDependency).scalar_subquery())
    waiting = select(JobDependency.job_id).where(JobDependency.after_id == predecessor.id, is_left)
    left = select(predecessor.id).where(predecessor.id.in_(ended), waiting.correlate(predecessor).exists())
    rows = [{"job_id": job_id} for job_id in session.scalars(left)]
    if rows:
        insert_new(session, EndedPredecessor, rows)


def take_left(session: Session, limit: int) -> dict[UUID, JobState]:
    """Remove up to `limit` jobs from the table `ended_predecessors`; return their states by id.

    Rows that another transaction has locked are skipped.
    """
    noted = select(EndedPredecessor.job_id, Job.state).join(Job, Job.id == EndedPredecessor.job_id)
    ours = noted.order_by(EndedPredecessor.job_id).limit(limit)
    rows = session.execute(ours.with_for_update(of=EndedPredecessor, skip_locked=True)).all()
    taken = {job_id: JobState(state) for job_id, state in rows}
    session.execute(delete(EndedPredecessor).where(EndedPredecessor.job_id.in_(taken)))
    return taken


def are_left(session: Session) -> bool:
    """Return whether jobs still wait for a job that has ended."""
    return session.scalar(select(EndedPredecessor.job_id).limit(1)) is not None


_AS_IT_IS = {"synchronize_session": False}  # the session's own job objects are not read afterwards


def _locked(jobs: Select[UUID]) -> Select[UUID]:
    return jobs.order_by(Job.id).with_for_update(key_share=True, skip_locked=True, of=Job)
