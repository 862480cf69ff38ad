"""Dependencies: jobs that start only after others, their predecessors, have succeeded.

The row of a job has the number of predecessors that have not succeeded yet. The success of a predecessor
decreases this number; any other end of it cancels the jobs that wait for it (`shared.store.dependents`). A
submission locks the rows of the predecessors that it names, so that none ends unnoticed meanwhile.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from sqlalchemy import func, literal, select, update
from sqlalchemy.orm import Session

from shared.db.statements import insert_rows
from shared.db.tables import Base, Id, Job, JobDependency
from shared.errors import JobNotFound, ModelNotFound, PredecessorFailed, TooManyWait
from shared.lifecycle import TERMINAL, JobState

MAX_WAITING = 20_000
"""The most jobs that may be submitted to run after the same job, and the length of the longest chain of jobs
that wait for each other. It bounds the work that the end of a job causes."""

Refusal = JobNotFound | ModelNotFound | PredecessorFailed | TooManyWait
"""The error of a request because of a job or a model that it names."""

_DEPENDENCIES = Base.metadata.tables[JobDependency.__tablename__]


def lock(session: Session, job_ids: Collection[UUID], *, waits: bool = True) -> dict[UUID, JobState]:
    """Lock the predecessors of new jobs until this transaction ends; return their states by id.

    Args:
        waits: whether to wait for jobs that other transactions have locked; otherwise these are left out.
    """
    if not job_ids:
        return {}
    rows = select(Job.id, Job.state).where(Job.id.in_(job_ids)).order_by(Job.id)
    states = session.execute(rows.with_for_update(key_share=True, skip_locked=not waits)).all()
    return {row.id: JobState(row.state) for row in states}


def refusals(after: Mapping[UUID, Collection[UUID]], states: Mapping[UUID, JobState]) -> dict[UUID, Refusal]:
    """Return the errors of requests whose jobs could never start, by the request's id.

    Args:
        after: the predecessors that each request names.
        states: the states that `lock` returned.
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


def over_limit(
    session: Session, after: Mapping[UUID, Counter[UUID]], states: Mapping[UUID, JobState]
) -> dict[UUID, Refusal]:
    """Return the errors of requests that would make more than `MAX_WAITING` jobs wait, by the request's id.

    Args:
        after: the predecessors of each request, each with the number of the request's jobs that name it.
        states: the states that `lock` returned.
    """
    awaited = {job_id for job_id, state in states.items() if state not in TERMINAL}
    if not awaited:
        return {}
    named_by = select(JobDependency.after_id, func.count()).where(JobDependency.after_id.in_(awaited))
    counts = session.execute(named_by.group_by(JobDependency.after_id))
    waiting = Counter(dict(counts.all()))
    depths = _depths(session, awaited)
    errors: dict[UUID, Refusal] = {}
    for request_id, named in after.items():
        added = Counter({job_id: count for job_id, count in named.items() if job_id in awaited})
        full = [job_id for job_id, count in added.items() if waiting[job_id] + count > MAX_WAITING]
        deep = [job_id for job_id in added if depths.get(job_id, 0) >= MAX_WAITING]
        if full:
            errors[request_id] = TooManyWait(
                f"at most {MAX_WAITING:,} jobs can run after job {full[0]}: have others run after one of them"
            )
        elif deep:
            errors[request_id] = TooManyWait(
                f"job {deep[0]} is the last of {MAX_WAITING:,} jobs that wait for each other, the most "
                "possible: submit the next one when the first of them have succeeded"
            )
        else:
            waiting += added
    return errors


def _depths(session: Session, job_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return the length of the longest chain of predecessors of each of these jobs that has one, by id.

    The length is that at the job's submission; only if it is too great, the chain is counted again.
    """
    if not job_ids:
        return {}
    deepest = select(JobDependency.job_id, func.max(JobDependency.depth)).where(
        JobDependency.job_id.in_(job_ids)
    )
    return {
        job_id: _length(session, job_id) if depth >= MAX_WAITING else depth
        for job_id, depth in session.execute(deepest.group_by(JobDependency.job_id)).all()
        if depth is not None
    }


def _length(session: Session, job_id: UUID) -> int:
    """Return the length of a job's chain of unfinished predecessors, along those of the greatest depth."""
    chain = select(literal(job_id, Id()).label("job_id"), literal(0).label("length")).cte(
        "chain", recursive=True
    )
    before = (
        select(JobDependency.after_id)
        .join(Job, Job.id == JobDependency.after_id)
        .where(JobDependency.job_id == chain.c.job_id, Job.state.not_in(TERMINAL))
        .order_by(JobDependency.depth.desc(), JobDependency.after_id)
        .limit(1)
        .correlate(chain)
        .scalar_subquery()
    )
    further = select(before, chain.c.length + 1).where(
        chain.c.job_id.is_not(None), chain.c.length <= MAX_WAITING
    )
    chain = chain.union_all(further)
    longest = select(func.max(chain.c.length)).where(chain.c.job_id.is_not(None))
    return int(session.execute(longest).scalar_one())


def ended(state: JobState) -> str:
    """Return the words for the end of a job that follow `has` in a message."""
    return "been cancelled" if state == JobState.CANCELLED else state


def reason(predecessor: UUID, state: JobState) -> dict[str, str]:
    """Return the details of the event that cancels a job because its predecessor has ended in this state."""
    message = f"job {predecessor}, which it was to run after, has {ended(state)}"
    return {"code": "predecessor", "message": message}


def add(session: Session, after: Mapping[UUID, Sequence[UUID]], states: Mapping[UUID, JobState]) -> None:
    """Store the dependencies of new jobs on those of their predecessors that have not ended.

    Args:
        after: the predecessors of each new job.
        states: the states that `lock` returned.
    """
    depths = _depths(session, {after_id for after_ids in after.values() for after_id in after_ids})
    pending = [
        {"job_id": job_id, "after_id": after_id, "depth": 1 + depths.get(after_id, 0)}
        for job_id, after_ids in after.items()
        for after_id in after_ids
        if states[after_id] not in TERMINAL
    ]
    insert_rows(session, _DEPENDENCIES, pending)
    if pending:
        awaited = {row["after_id"] for row in pending}
        session.execute(
            update(Job).where(Job.id.in_(awaited), ~Job.has_dependents).values(has_dependents=True)
        )


def pending(after: Sequence[UUID], states: Mapping[UUID, JobState]) -> int:
    """Return how many of a new job's predecessors have not ended."""
    return sum(states[after_id] not in TERMINAL for after_id in after)


def predecessors(session: Session, job_id: UUID) -> list[UUID]:
    """Return the ids of a job's predecessors that had not ended when the job was submitted."""
    named = select(JobDependency.after_id).where(JobDependency.job_id == job_id)
    return list(session.scalars(named.order_by(JobDependency.after_id)))
