"""Claims: a worker takes the next job of a queue and starts an attempt at it.

`shared.store.turns` says which tenant is next, and an UPDATE takes the first of its jobs. The statements are
built once: that costs ten times their execution.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, Select, bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.prepared import Prepared
from shared.db.tables import IS_RUNNING, Attempt, Base, Job
from shared.lifecycle import EventType, JobKind
from shared.store import limits, places, results, turns
from shared.store.known_turns import KnownTurns, Started
from shared.store.transitions import AttemptId, NewEvent, apply, update_of
from shared.store.turns import Turn
from shared.store.workers import WorkerInfo, may_claim

_JOBS, _ATTEMPTS = (Base.metadata.tables[mapped.__tablename__] for mapped in (Job, Attempt))
_OF_CLAIM = tuple(
    _JOBS.c[name]
    for name in (
        *("kind", "spec", "queue", "tenant", "place", "head_start_s", "max_runtime_s", "failures"),
        *("next_epoch", "request_id", "sweep_id", "traceparent"),
    )
)
# no index has the owner: among the running jobs
_SELECT_BY_OWNER = Prepared(
    select(_JOBS.c.id, _JOBS.c.attempt, *_OF_CLAIM).where(
        IS_RUNNING, _JOBS.c.lease_owner == bindparam("of_owner")
    )
)


@dataclass(frozen=True)
class Claim:
    """A claimed job: the attempt that holds the lease, and what it needs to run.

    Attributes:
        traceparent: the span of its submission, where traces are exported.
    """

    attempt: AttemptId
    kind: JobKind
    queue: str
    tenant: str
    spec: dict[str, Any]
    max_runtime_s: float | None
    checkpoint: results.StoredCheckpoint | None
    failures: int
    request_id: str | None
    sweep_id: UUID | None
    traceparent: str | None

    @property
    def started(self) -> Started:
        """Whose slot it takes."""
        return Started(self.attempt.job_id, self.queue, self.tenant)


def claim(
    session: Session,
    queues: Sequence[str],
    *,
    worker: WorkerInfo,
    owner: str,
    lease_s: float,
    before_all: UUID | None = None,
    again: bool = True,
    known: KnownTurns | None = None,
    now: Now = database_now,
) -> Claim | None:
    """Claim the next job of these queues, with a lease of `lease_s` seconds.

    That of the least place among the queues' next ones: it has waited longest.

    The attempt names the worker's versions by their hash only: `shared.store.environments.store` stores them.

    Args:
        before_all: a job that is claimed instead if it can start: an urgent one that gets another's slot.
        owner: unique for each claim, so that a transaction that is run again finds its own.
        again: whether it may have been run before, so that a commit that was not confirmed has claimed a job.
        known: what this process knows of whose turn it is; None: what is stored.

    Returns:
        None if no job is queued and due, the queues that have some are paused, or this worker is draining.
    """
    known = known or KnownTurns(stale_s=0.0)
    start = partial(_start_attempt, session, worker=worker, owner=owner, now=now)
    job = _SELECT_BY_OWNER.one_or_none(session, {"of_owner": owner}) if again else None
    if job is None and before_all:
        job = _start_urgent(session, before_all, start, lease_s, now)
    if job is None:
        ahead = {queue: known.in_order(session, queue, now=now) for queue in queues}
        job = _start_next(ahead, known, partial(start, update=_update(lease_s, now)))
    if job is None and limits.take_turn(session):
        within_limits = partial(turns.within_limits, session, rules=known.rules, now=now)
        ahead = {queue: iter(within_limits(queue)) for queue in queues}
        job = _start_chosen(ahead, partial(start, update=_update_of_job(lease_s, now)))
    if job is None:
        return None
    return Claim(
        attempt=AttemptId(job.id, job.attempt),
        kind=JobKind(job.kind),
        queue=job.queue,
        tenant=job.tenant,
        spec=job.spec,
        max_runtime_s=job.max_runtime_s,
        checkpoint=_checkpoint(session, job.id, job.next_epoch) if job.next_epoch else None,
        failures=job.failures,
        request_id=job.request_id,
        sweep_id=job.sweep_id,
        traceparent=job.traceparent,
    )


def _start_next(ahead: Mapping[str, Iterator[Turn]], known: KnownTurns, start: Callable[..., Any]) -> Any:
    for queue, turn in _in_order(ahead):
        job = start(queue, of_tenant=turn.tenant, of_floor=turn.place)
        if job is not None:
            known.found(turn, job.place, job.head_start_s, job.now)
            return job
        known.found_none(queue, turn)
    return None


def _start_chosen(ahead: Mapping[str, Iterator[Turn]], start: Callable[..., Any]) -> Any:
    """Start the next job that the limits let start, while nobody else claims any."""
    started = (start(queue, of_job=turn.job_id) for queue, turn in _in_order(ahead))
    return next((job for job in started if job is not None), None)


def _in_order(ahead: Mapping[str, Iterator[Turn]]) -> Iterator[tuple[str, Turn]]:
    """Yield the next of several queues' turns: that with the least place, which has waited longest."""
    firsts = {queue: turn for queue, following in ahead.items() if (turn := next(following, None))}
    while firsts:
        queue = min(firsts, key=lambda name: firsts[name].place)
        yield queue, firsts.pop(queue)
        if (turn := next(ahead[queue], None)) is not None:
            firsts[queue] = turn


def _start_urgent(session: Session, job_id: UUID, start: Callable[..., Any], lease_s: float, now: Now) -> Any:
    queue = session.scalar(select(Job.queue).where(Job.id == job_id))
    limits.take_turn(session)
    return start(queue or "", update=_update_of_job(lease_s, now), of_job=job_id)


def _start_attempt(
    session: Session,
    queue: str,
    update: Prepared,
    *,
    worker: WorkerInfo,
    owner: str,
    now: Now,
    **parameters: Any,
) -> Any:
    event = NewEvent(EventType.CLAIMED, {"worker": worker.name})
    parameters |= {"of_queue": queue, "of_worker": worker.name, "of_owner": owner}
    job = apply(session, update, [event], parameters, now=now)
    if job is not None:
        attempt = {"job_id": job.id, "number": job.attempt, "worker": worker.name}
        runs_on = {"device": worker.device, "environment": worker.environment, "boot_id": worker.boot_id}
        _insert(now).execute(session, {**attempt, **runs_on})
    return job


@lru_cache
def _update(lease_s: float, now: Now) -> Prepared:
    """UPDATE of the next job of a tenant whose place is a floor or greater, unless a limit is set."""
    due = places.due(bindparam("of_queue"), now=now).where(~limits.ARE_SET).with_only_columns(Job.id)
    # without the floor it would visit each job that was done since the oldest snapshot that anybody holds
    of_tenant = due.where(Job.tenant == bindparam("of_tenant"), Job.place >= bindparam("of_floor"))
    next_job = of_tenant.order_by(*places.ORDER).limit(1)
    # another claim may have locked the next job: then the one after it is next
    return _update_of(next_job.with_for_update(key_share=True, skip_locked=True), lease_s, now)


@lru_cache
def _update_of_job(lease_s: float, now: Now) -> Prepared:
    queue: BindParameter[str] = bindparam("of_queue")
    can_start = places.due(queue, now=now).where(Job.id == bindparam("of_job"), *limits.let_start(queue))
    return _update_of(can_start.with_only_columns(Job.id), lease_s, now)


def _update_of(next_job: Select[UUID], lease_s: float, now: Now) -> Prepared:
    update_of_next = update_of(
        EventType.CLAIMED,
        may_claim(bindparam("of_worker")),
        choice=next_job.scalar_subquery(),
        returning=_OF_CLAIM,
        attempt=_JOBS.c.attempt + 1,
        lease_owner=bindparam("of_owner"),
        lease_expires_at=now(lease_s),
        started_at=func.coalesce(_JOBS.c.started_at, now()),
        now=now,
    )
    return Prepared(update_of_next)


@lru_cache
def _insert(now: Now) -> Prepared:
    return Prepared(insert(_ATTEMPTS).values(started_at=now()))


def _checkpoint(session: Session, job_id: UUID, next_epoch: int) -> results.StoredCheckpoint | None:
    """Return the valid checkpoint of a job, or have the job trained from its start, from the same seeds."""
    checkpoint = results.checkpoint(session, job_id)
    if checkpoint is not None and checkpoint.next_epoch == next_epoch:
        return checkpoint
    results.delete_epochs(session, job_id)
    session.execute(update(_JOBS).where(_JOBS.c.id == job_id).values(next_epoch=0, last_values={}))
    return None
