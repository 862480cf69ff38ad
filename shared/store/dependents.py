"""The end of a job for those that wait for it: a success counts it off, any other end cancels them.

Both are done for some of them at a time, however many there are, and wait for no row that somebody else has
locked. A job that has ended while others still wait for it is noted in the table `ended_predecessors`, and
any process goes on with it: what is left to do follows from the rows of the jobs.
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
    """SQL for how many of its predecessors have not succeeded, of a job in the enclosing statement."""
    named = select(func.count()).join_from(
        JobDependency, _PREDECESSOR, _PREDECESSOR.id == JobDependency.after_id
    )
    has_not = named.where(JobDependency.job_id == Job.id, _PREDECESSOR.state != JobState.SUCCEEDED)
    return has_not.correlate(Job).scalar_subquery()


def _state_of_waiting() -> ScalarSelect[str]:
    """SQL for the state of the job that waits, of a dependency in the enclosing statement.

    Not a join: PostgreSQL might begin it with all queued jobs, again for each job of a chain.
    """
    return select(Job.state).where(Job.id == JobDependency.job_id).correlate(JobDependency).scalar_subquery()


def count_off(session: Session, succeeded: Collection[UUID], limit: int) -> list[UUID]:
    """Note in up to `limit` jobs that wait for jobs that have succeeded how many they still wait for.

    Returns:
        The ids of the jobs that wait for fewer now.
    """
    if not succeeded:
        return []
    waiting = select(JobDependency.job_id).where(JobDependency.after_id.in_(succeeded))
    behind = select(Job.id).where(Job.id.in_(waiting), IS_QUEUED, Job.pending_predecessors > _awaited())
    # counted after they are locked: a statement sees what has been committed before it begins
    ids = session.scalars(_locked(behind).limit(limit)).all()
    counted = update(Job).where(Job.id.in_(ids)).values(pending_predecessors=_awaited())
    session.execute(counted, execution_options=_AS_IT_IS)
    return list(ids)


def doomed(session: Session, ended: Collection[UUID], limit: int) -> dict[UUID, UUID]:
    """Return jobs that can never start: a job that they are to run after has not succeeded, or is doomed too.

    Args:
        ended: jobs that have ended without success.
        limit: how many are returned at most; a chain is followed from its first job on.

    Returns:
        The jobs, each with the one that it waits for in vain.
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
    """Lock those of some jobs that are queued and that nobody else has locked; return their ids."""
    return list(session.scalars(_locked(select(Job.id).where(Job.id.in_(job_ids), IS_QUEUED))))


def note_left(session: Session, ended: Collection[UUID]) -> None:
    """Note which of these jobs have ended while others still wait for them, or have begun to meanwhile."""
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
    """Return up to `limit` of the jobs that are noted, with their states; they are noted no more.

    Those that another transaction has taken are left to it.
    """
    noted = select(EndedPredecessor.job_id, Job.state).join(Job, Job.id == EndedPredecessor.job_id)
    ours = noted.order_by(EndedPredecessor.job_id).limit(limit)
    rows = session.execute(ours.with_for_update(of=EndedPredecessor, skip_locked=True)).all()
    taken = {job_id: JobState(state) for job_id, state in rows}
    session.execute(delete(EndedPredecessor).where(EndedPredecessor.job_id.in_(taken)))
    return taken


def are_left(session: Session) -> bool:
    """Return whether a job has ended while others still wait for it."""
    return session.scalar(select(EndedPredecessor.job_id).limit(1)) is not None


_AS_IT_IS = {"synchronize_session": False}  # no job of the session is looked at afterwards


def _locked(jobs: Select[UUID]) -> Select[UUID]:
    return jobs.order_by(Job.id).with_for_update(key_share=True, skip_locked=True, of=Job)
