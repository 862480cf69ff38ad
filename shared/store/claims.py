"""Claims: a worker takes the next job of a queue and starts an attempt at it.

`shared.store.turns` determines which tenant is next, and an UPDATE takes the first of its jobs. Each
statement is built once, because building it takes ten times as long as executing it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    Integer,
    ScalarSelect,
    Select,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.statements import Statement, insert_rows
from shared.db.tables import IS_RUNNING, Attempt, Base, Job
from shared.lifecycle import EventType, JobKind
from shared.store import limits, places, results, turns
from shared.store.event_log import NewEvent
from shared.store.known_turns import KnownTurns, Started
from shared.store.transitions import AttemptId, Change, apply_chosen, update_of
from shared.store.turns import Turn
from shared.store.workers import WorkerInfo, may_claim

_JOBS, _ATTEMPTS = (Base.metadata.tables[mapped.__tablename__] for mapped in (Job, Attempt))
_OF_CLAIM = tuple(
    _JOBS.c[name]
    for name in (
        *("kind", "spec", "queue", "tenant", "place", "head_start_s", "max_runtime_s", "failures"),
        *("request_id", "sweep_id", "traceparent"),
    )
)
# no index has the owner, so all running jobs are searched
_SELECT_BY_OWNER = Statement(
    select(_JOBS.c.id, _JOBS.c.attempt, _JOBS.c.next_epoch, *_OF_CLAIM)
    .where(IS_RUNNING, _JOBS.c.lease_owner == bindparam("of_owner"))
    .order_by(*places.ORDER)
)

TOGETHER = "+"
"""The end of `lease_owner` for jobs that may have been claimed together with others."""


@dataclass(frozen=True)
class Claim:
    """A claimed job: the attempt that holds its lease, and the data that the attempt needs to run.

    Attributes:
        traceparent: the trace context of the job's submission; None if no traces were exported then.
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
        """The job, and the queue and tenant that are charged for its slot."""
        return Started(self.attempt.job_id, self.queue, self.tenant)


def claim(session: Session, queues: Sequence[str], **options: Any) -> Claim | None:
    """Claim the next job of these queues, as `claim_several` does; return None if none can start."""
    return next(iter(claim_several(session, queues, **options)), None)


def claim_several(
    session: Session,
    queues: Sequence[str],
    *,
    worker: WorkerInfo,
    owner: str,
    lease_s: float,
    most: int = 1,
    before_all: UUID | None = None,
    again: bool = True,
    known: KnownTurns | None = None,
    now: Now = database_now,
) -> list[Claim]:
    """Claim the next jobs of these queues, each with a lease of `lease_s` seconds.

    Of the next job of each queue, the one with the least place is claimed: it has waited longest. The jobs
    after it of the same tenant are claimed with it, up to `most` in all, unless the first job is urgent or a
    limit is set. Only jobs that were never attempted are claimed together, so that a job that kills its
    process runs alone from then on.

    The attempts refer to the worker's versions by hash; `shared.store.environments.store` stores these.

    Args:
        most: the most jobs to claim.
        before_all: an urgent job that gets the slot of a preempted one; if it can start, it is claimed
            instead of the next jobs.
        owner: the lease owner, unique for each call, so that a transaction that is run again finds its own
            jobs. It ends with `TOGETHER` if `most` is greater than 1.
        again: whether this transaction may have been run before, so that an unconfirmed commit may have
            claimed jobs.
        known: the turns that this process has cached; None to read them from the database.

    Returns:
        The claimed jobs in their order; empty if no job is queued and due, the queues with due jobs are
        paused, limits hold the jobs up, or this worker is draining.
    """
    known = known or KnownTurns(stale_s=0.0)
    start = partial(_start_attempts, session, worker=worker, owner=owner, now=now)
    jobs = _SELECT_BY_OWNER.all(session, {"of_owner": owner}) if again else []
    if not jobs and before_all:
        jobs = _start_urgent(session, before_all, start, lease_s, now)
    if not jobs:
        ahead = {queue: known.in_order(session, queue, now=now) for queue in queues}
        jobs = _start_next(ahead, known, start, most, partial(_update, lease_s, now))
    if not jobs and limits.take_turn(session):
        within_limits = partial(turns.within_limits, session, rules=known.rules, now=now)
        ahead = {queue: iter(within_limits(queue)) for queue in queues}
        jobs = _start_chosen(ahead, partial(start, update=_update_of_job(lease_s, now)))
    return [_claim(session, job) for job in jobs]


def _claim(session: Session, job: Any) -> Claim:
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


def _start_next(
    ahead: Mapping[str, Iterator[Turn]],
    known: KnownTurns,
    start: Callable[..., Any],
    most: int,
    update_of_next: Callable[[bool], Statement],
) -> list[Any]:
    for queue, turn in _in_order(ahead):
        of_several = {"of_most": most} if most > 1 and not known.is_urgent(turn) else {}
        next_jobs = {"update": update_of_next(bool(of_several)), **of_several}
        jobs: list[Any] = start(queue, of_tenant=turn.tenant, of_floor=turn.place, **next_jobs)
        if jobs:
            known.found(turn, jobs[-1].place, jobs[-1].head_start_s, jobs[-1].now)
            return jobs
        known.found_none(queue, turn)
    return []


def _start_chosen(ahead: Mapping[str, Iterator[Turn]], start: Callable[..., Any]) -> list[Any]:
    """Start the next job that the limits let start; `limits.take_turn` has kept other claims out."""
    started = (start(queue, of_job=turn.job_id) for queue, turn in _in_order(ahead))
    return next((jobs for jobs in started if jobs), [])


def _in_order(ahead: Mapping[str, Iterator[Turn]]) -> Iterator[tuple[str, Turn]]:
    """Merge the turns of several queues: the one with the least place is next, having waited longest."""
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


def _start_attempts(
    session: Session,
    queue: str,
    update: Statement,
    *,
    worker: WorkerInfo,
    owner: str,
    now: Now,
    **parameters: Any,
) -> list[Any]:
    event = NewEvent(EventType.CLAIMED, {"worker": worker.name})
    parameters |= {"of_queue": queue, "of_worker": worker.name, "of_owner": owner}
    jobs = apply_chosen(session, update, Change([event], parameters), now=now)
    jobs.sort(key=lambda job: (job.place, job.id))
    runs_on = {"device": worker.device, "environment": worker.environment, "boot_id": worker.boot_id}
    insert_rows(
        session,
        _ATTEMPTS,
        [
            {"job_id": job.id, "number": job.attempt, "worker": worker.name, "started_at": job.now, **runs_on}
            for job in jobs
        ],
    )
    return jobs


@lru_cache
def _update(lease_s: float, now: Now, of_several: bool) -> Statement:
    """Return the UPDATE that claims a tenant's next jobs, from a least place on, unless a limit is set.

    It claims the first job; with `of_several` also the jobs after it, as long as neither these nor the first
    one were attempted before.
    """
    if not of_several:
        return _update_of(_of_tenant(now).limit(1).scalar_subquery(), lease_s, now)
    # a CTE, because PostgreSQL may run a subquery with a LIMIT several times
    ahead = _of_tenant(now).add_columns(Job.attempt, Job.place)
    following = ahead.limit(bindparam("of_most", type_=Integer())).cte("following")
    order = (following.c.place, following.c.id)
    tried = func.sum(case((following.c.attempt > 0, 1), else_=0)).over(order_by=order, rows=(None, 0))
    number = func.row_number().over(order_by=order)
    ranked = select(following.c.id, tried.label("tried"), number.label("number")).subquery()
    chosen = select(ranked.c.id).where(or_(ranked.c.tried == 0, ranked.c.number == 1))
    return _update_of(chosen, lease_s, now)


def _of_tenant(now: Now) -> Select[UUID]:
    due = places.due(bindparam("of_queue"), now=now).where(~limits.ARE_SET).with_only_columns(Job.id)
    # without the floor, the scan would visit each job that has left the queue since the oldest open snapshot
    of_tenant = due.where(Job.tenant == bindparam("of_tenant"), Job.place >= bindparam("of_floor"))
    # if another claim has locked the next job, the one after it is taken
    return of_tenant.order_by(*places.ORDER).with_for_update(key_share=True, skip_locked=True)


@lru_cache
def _update_of_job(lease_s: float, now: Now) -> Statement:
    queue: BindParameter[str] = bindparam("of_queue")
    can_start = places.due(queue, now=now).where(Job.id == bindparam("of_job"), *limits.let_start(queue))
    return _update_of(can_start.with_only_columns(Job.id).scalar_subquery(), lease_s, now)


def _update_of(choice: ScalarSelect[UUID] | Select[UUID], lease_s: float, now: Now) -> Statement:
    update_of_next = update_of(
        EventType.CLAIMED,
        may_claim(bindparam("of_worker")),
        choice=choice,
        returning=_OF_CLAIM,
        attempt=_JOBS.c.attempt + 1,
        lease_owner=bindparam("of_owner"),
        lease_expires_at=now(lease_s),
        started_at=func.coalesce(_JOBS.c.started_at, now()),
        now=now,
    )
    return Statement(update_of_next)


def _checkpoint(session: Session, job_id: UUID, next_epoch: int) -> results.StoredCheckpoint | None:
    """Return the checkpoint of a job; if it is not valid, delete the job's epochs and return None.

    The training then begins again, from the same seeds.
    """
    checkpoint = results.checkpoint(session, job_id)
    if checkpoint is not None and checkpoint.next_epoch == next_epoch:
        return checkpoint
    results.delete_epochs(session, job_id)
    session.execute(update(_JOBS).where(_JOBS.c.id == job_id).values(next_epoch=0, last_values={}))
    return None
