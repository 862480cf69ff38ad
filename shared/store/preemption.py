"""Preemption: an urgent job that finds no free slot gets the slot of a running training job.

A request names the attempt to be preempted, the victim. Of the training jobs that run on workers of the
urgent job's queue, the victim has the lowest priority and, on a tie, the greatest place. At its next epoch it
returns to the queue, from which it resumes bit for bit, and the transaction that releases it claims the
urgent job. An urgent job has one victim at a time, and never preempts the same job twice. A job is preempted
again only after it has run for `min_run_s`, so that a stream of urgent jobs does not stop its progress.
"""

from collections.abc import Iterable, Iterator
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, case, delete, or_, select, update
from sqlalchemy.orm import Session, aliased

from shared.db.clock import Now, database_now
from shared.db.tables import IS_QUEUED, IS_RUNNING, Attempt, Job, Preemption, Worker
from shared.db.upserts import insert_or_ignore
from shared.lifecycle import JobKind, JobState, WorkerState
from shared.schemas import Priority
from shared.store import limits, places, queues, workers
from shared.store.transitions import AttemptId

_MAX_REQUESTS = 32  # requests for one queue in one transaction

_VICTIM, _URGENT = aliased(Job), aliased(Job)

URGENT_ID: ScalarSelect[UUID] = (
    select(Preemption.urgent_id)
    .join(_URGENT, _URGENT.id == Preemption.urgent_id)
    .where(Preemption.victim_id == Job.id, Preemption.victim_attempt == Job.attempt)
    .where(_URGENT.state == JobState.QUEUED)
    .correlate(Job)
    .scalar_subquery()
)
"""SQL for the id of the urgent job that preempts the present attempt at a job; NULL if none does."""


def request(
    session: Session, queue_names: Iterable[str], *, min_run_s: float, now: Now = database_now
) -> list[AttemptId]:
    """Have each urgent job of these queues that finds no free slot preempt a running training job.

    Idempotent: an urgent job whose victim has not ended yet gets no other.

    Args:
        min_run_s: seconds for which a preempted job runs before it can be preempted again.

    Returns:
        The attempts that this call asks to give up their slots.
    """
    requested = []
    for queue in queue_names:
        for urgent in _without_slot(session, queue, now):
            victim = _victim(session, urgent, min_run_s, now)
            if victim is not None and _insert(session, victim, urgent, now):
                requested.append(victim)
    return requested


def _without_slot(session: Session, queue: str, now: Now) -> Iterator[Job]:
    """Yield the urgent jobs of a queue that are due, find no free slot and have no victim."""
    due = places.due(queue, now=now).with_only_columns(Job).where(IS_QUEUED, Job.priority == Priority.URGENT)
    has_victim = select(Preemption.victim_id).where(Preemption.urgent_id == Job.id, _is_open()).exists()
    waiting = due.where(~has_victim).order_by(*places.ORDER).limit(_MAX_REQUESTS)
    if urgent := session.scalars(waiting).all():
        free_slots = queues.slots(session, queue, now=now).free
        for job in urgent:
            if free_slots and not limits.reached(session, queue, job.api_key_id):
                free_slots -= 1
            else:
                yield job


def _is_open() -> ColumnElement[bool]:
    """Return SQL for whether the victim of a request still runs."""
    is_victim = (_VICTIM.id == Preemption.victim_id) & (_VICTIM.attempt == Preemption.victim_attempt)
    return select(_VICTIM.id).where(is_victim, _VICTIM.state == JobState.RUNNING).exists()


def _victim(session: Session, urgent: Job, min_run_s: float, now: Now) -> AttemptId | None:
    _forget_needless(session)
    served, of_job = queues.queues_of_workers(session), Preemption.victim_id == Job.id
    was_preempted = and_(of_job, Preemption.preempted_at.is_not(None))
    candidates: Select[UUID, int] = (
        select(Job.id, Job.attempt)
        .join(Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempt))
        .join(Worker, Worker.id == Attempt.worker)
        .where(IS_RUNNING, Job.kind == JobKind.TRAIN, Job.priority != Priority.URGENT)
        .where(Job.cancel_requested_at.is_(None))
        .where(workers.in_state(WorkerState.ONLINE, now=now), served.c.value == urgent.queue)
        .where(~select(of_job).where(of_job, Preemption.victim_attempt == Job.attempt).exists())
        .where(~select(of_job).where(was_preempted, Preemption.urgent_id == urgent.id).exists())
        .where(or_(Attempt.started_at <= now(-min_run_s), ~select(of_job).where(was_preempted).exists()))
    )
    # if a limit of the urgent job is reached, only a victim that counts for the same limit lets it start
    if limits.is_queue_full(session, urgent.queue):
        candidates = candidates.where(Job.queue == urgent.queue)
    if limits.is_key_full(session, urgent.api_key_id):
        candidates = candidates.where(Job.api_key_id == urgent.api_key_id)
    rank = case({Priority.LOW: 0, Priority.NORMAL: 1}, value=Job.priority, else_=2)
    victim = session.execute(candidates.order_by(rank, Job.place.desc(), Job.id.desc()).limit(1)).first()
    return None if victim is None else AttemptId(victim.id, victim.attempt)


def _forget_needless(session: Session) -> None:
    """Delete the requests that were not carried out and whose urgent job no longer waits."""
    waits = select(Job.id).where(Job.id == Preemption.urgent_id, IS_QUEUED).exists()
    session.execute(delete(Preemption).where(Preemption.preempted_at.is_(None), ~waits))


def _insert(session: Session, victim: AttemptId, urgent: Job, now: Now) -> bool:
    request = {"victim_id": victim.job_id, "victim_attempt": victim.number, "urgent_id": urgent.id}
    # another transaction may have chosen the same victim for another urgent job
    return insert_or_ignore(session, Preemption, {**request, "requested_at": now()})


def note_preempted(session: Session, victim: AttemptId, *, now: Now = database_now) -> None:
    """Record that an attempt has given up its slot to the urgent job of its request. Idempotent."""
    of_victim = (Preemption.victim_id == victim.job_id) & (Preemption.victim_attempt == victim.number)
    session.execute(update(Preemption).where(of_victim).values(preempted_at=now()))
