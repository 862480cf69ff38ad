"""A model of the store in plain Python: the effect of each operation, and the invariants of a job."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from shared.db.engine import Database
from shared.db.tables import Attempt, Checkpoint, ClassResult, Epoch, Job, JobEvent, Model, Preemption
from shared.lifecycle import EVENTS, TERMINAL, EventType, JobState, Phase
from shared.schemas import Priority
from shared.store.leases import Standing
from shared.store.places import Rules
from shared.store.progress import Progress
from shared.store.transitions import AttemptId
from tests.support.factories import make_epoch
from tests.support.slots_model import MIN_RUN_S, Request, SlotsModel
from tests.support.turns import QueueOrder

LEASE_S = 30.0
WORKERS = ("worker-0", "worker-1", "worker-2")
RULES = Rules(urgent_s=7.0, high_s=3.0, low_s=3.0, passed_s=40.0, min_run_s=MIN_RUN_S)  # within a run
RETRY_S = 5.0
MAX_LOST_ATTEMPTS = 3
SUCCESS = (1, 3)  # one model, and classes of three images


@dataclass
class JobModel:
    """A job and all rows that belong to it; `stored_jobs` reads the same from a database.

    Attributes:
        events: type and attempt of each event, in order.
        attempts: worker and outcome of each attempt, in order.
        epochs: for each recorded epoch, the attempt that recorded it and its loss.
        checkpoint: the epoch that a resume from it trains next.
        results: the number of models, and of evaluated images.
    """

    max_attempts: int
    priority: str
    scheduled_at: datetime
    place: float = 0.0
    tenant: str = ""
    key: UUID | None = None
    state: str = JobState.QUEUED
    attempt: int = 0
    version: int = 1
    failures: int = 0
    lost_attempts: int = 0
    cancel_requested: bool = False
    owner: str | None = None
    lease_expires_at: datetime | None = None
    phase: str | None = None
    events: list[tuple[str, int]] = field(default_factory=lambda: [(EventType.SUBMITTED, 0)])
    attempts: list[tuple[str, str | None]] = field(default_factory=list)
    epochs: list[tuple[int, dict[str, float | None]]] = field(default_factory=list)
    checkpoint: int | None = None
    results: tuple[int, int] = (0, 0)

    def check(self) -> None:
        """Assert the invariants I2 to I6 of a job; I1, that every job ends, is for the end of a run."""
        types = [type_ for type_, _ in self.events]
        # I2: one terminal event, the last, if and only if the job is in a terminal state
        assert [type_ for type_ in types if type_ in TERMINAL] == [self.state] * (self.state in TERMINAL)
        assert self.state not in TERMINAL or types[-1] == self.state
        # I3: epochs are contiguous (ordered by number), each with the values of an uninterrupted run
        assert [values for _, values in self.epochs] == [
            make_epoch(n).values for n in range(len(self.epochs))
        ]
        # I4: no row names an attempt that has not been claimed
        assert max([0, *(n for _, n in self.events), *(n for n, _ in self.epochs)]) <= self.attempt
        # I5: each claim starts the next attempt, and all attempts but a running one have an outcome
        assert [n for type_, n in self.events if type_ == EventType.CLAIMED] == [*range(1, self.attempt + 1)]
        assert [n for _, n in self.events] == sorted(n for _, n in self.events)
        assert [bool(outcome) for _, outcome in self.attempts] == [True] * (
            self.attempt - self.is_running
        ) + [False] * self.is_running
        # I6: results if and only if the job has succeeded; the classes count every evaluated image
        assert self.results == (SUCCESS if self.state == JobState.SUCCEEDED else (0, 0))
        self._check_events()

    def _check_events(self) -> None:
        """Assert that the events are a path through `EVENTS` that ends in the job's state."""
        state: JobState | None = None
        for type_, _ in self.events:
            edge = EVENTS[EventType(type_)]
            assert state in edge.sources or (state is None and not edge.sources)
            state = edge.target or state
        assert (state, self.version) == (self.state, len(self.events))
        checkpoint = len(self.epochs) if self.epochs and self.state not in TERMINAL else None
        assert self.checkpoint in (checkpoint, None)

    @property
    def is_running(self) -> bool:
        return self.state == JobState.RUNNING


class StoreModel:
    """A model of the store. Each method has the effect and the result of the store's function of its name."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment
        self.jobs: dict[UUID, JobModel] = {}
        self.order = QueueOrder(RULES)
        self.slots = SlotsModel(WORKERS)
        self.damaged: set[UUID] = set()

    def _from_now(self, seconds: float) -> datetime:
        return self.moment + timedelta(seconds=seconds)

    def count_unfinished(self) -> int:
        return sum(job.state not in TERMINAL for job in self.jobs.values())

    def submit(
        self, job_id: UUID, max_attempts: int, tenant: str, priority: Priority, key: UUID | None
    ) -> None:
        queued = [job for job in self.jobs.values() if job.state == JobState.QUEUED]
        place = self.order.place(tenant, priority, self.moment, queued)
        self.jobs[job_id] = JobModel(max_attempts, priority, self.moment, place, tenant, key)
        if priority is Priority.URGENT:
            self.request_preemptions()

    def _is_due(self, job: JobModel) -> bool:
        is_queued = job.state == JobState.QUEUED and not job.cancel_requested
        return is_queued and job.scheduled_at <= self.moment

    def next_job(self) -> UUID | None:
        """The job that is claimed next, of those that may start."""
        can_start = {job_id: job for job_id, job in self.jobs.items() if self._can_start(job)}
        return self.order.next(can_start, self.moment)

    def _can_start(self, job: JobModel) -> bool:
        return self._is_due(job) and self.slots.let_start(self.jobs, job)

    def request_preemptions(self) -> list[AttemptId]:
        due = {job_id for job_id, job in self.jobs.items() if self._is_due(job)}
        return self.slots.request(self.jobs, due, self._queued(), self.moment)

    def _queued(self) -> set[UUID]:
        return {job_id for job_id, job in self.jobs.items() if job.state == JobState.QUEUED}

    def urgent_of(self, attempt: AttemptId) -> UUID | None:
        return self.slots.urgent_of(attempt, self._queued())

    def hand_over(self, attempt: AttemptId, urgent: UUID, worker: str, owner: str) -> AttemptId | None:
        self.release(attempt.job_id, Progress())
        if request := self.slots.requests.get(attempt):
            request.was_preempted = True
        return self.claim(worker, owner, before_all=urgent)

    def claim(self, worker: str, owner: str, before_all: UUID | None = None) -> AttemptId | None:
        first = before_all is not None and self._can_start(self.jobs[before_all])
        job_id = before_all if first else self.next_job()
        if not first and not self.slots.is_queue_full(self.jobs):
            for tenant in {job.tenant for job in self.jobs.values() if self._is_due(job)}:
                self.order.enter(tenant, self.moment)
        if job_id is None:
            return None
        self.slots.started[AttemptId(job_id, self.jobs[job_id].attempt + 1)] = self.moment
        job = self.jobs[job_id]
        job.attempt += 1
        job.owner, job.lease_expires_at = owner, self._from_now(LEASE_S)
        job.attempts.append((worker, None))
        self._apply(job, EventType.CLAIMED)
        if job_id in self.damaged:
            job.epochs, job.checkpoint = [], None
            self.damaged.discard(job_id)
        return AttemptId(job_id, job.attempt)

    def is_current(self, attempt: AttemptId) -> bool:
        """Whether the attempt holds its job. If not, its writes are refused: call no method below for it."""
        job = self.jobs[attempt.job_id]
        return job.is_running and job.attempt == attempt.number

    def renew(self, job_id: UUID) -> Standing:
        job = self.jobs[job_id]
        job.lease_expires_at = self._from_now(LEASE_S)
        return Standing(job.cancel_requested, self.urgent_of(AttemptId(job_id, job.attempt)))

    def record(self, job_id: UUID, progress: Progress) -> None:
        job = self.jobs[job_id]
        job.lease_expires_at = self._from_now(LEASE_S)
        if progress.epochs or progress.phase != job.phase:
            self._advance(job_id, progress)

    def _advance(self, job_id: UUID, progress: Progress) -> None:
        job = self.jobs[job_id]
        for each in progress.milestones:
            if isinstance(each.reached, Phase):
                job.phase = each.reached
            else:
                job.epochs.append((job.attempt, each.reached.values))
        if progress.milestones:
            self._apply(job, EventType.PROGRESS)
        if progress.epochs:
            job.lost_attempts = 0
            job.checkpoint = len(job.epochs)
            self.damaged.discard(job_id)

    def succeed(self, job_id: UUID, progress: Progress) -> None:
        self.jobs[job_id].results = SUCCESS
        self._advance(job_id, progress)
        self._apply(self.jobs[job_id], EventType.SUCCEEDED, outcome="succeeded")

    def fail(self, job_id: UUID, progress: Progress, *, retry: bool) -> None:
        job = self.jobs[job_id]
        self._advance(job_id, progress)
        job.failures += 1
        if retry and job.failures < job.max_attempts:
            job.scheduled_at = self._from_now(RETRY_S)
            self._apply(job, EventType.RETRY_SCHEDULED, outcome="failed")
        else:
            self._apply(job, EventType.FAILED, outcome="failed")

    def release(self, job_id: UUID, progress: Progress) -> None:
        self._advance(job_id, progress)
        self._apply(self.jobs[job_id], EventType.RELEASED, outcome="released")

    def cancel_attempt(self, job_id: UUID, progress: Progress) -> None:
        self._advance(job_id, progress)
        self._apply(self.jobs[job_id], EventType.CANCELLED, outcome="cancelled")

    def request_cancel(self, job_id: UUID) -> bool:
        """Return False if the job has succeeded or failed."""
        job = self.jobs[job_id]
        if job.state == JobState.QUEUED:
            job.cancel_requested = True
            self._apply(job, EventType.CANCELLED)
        elif job.is_running and not job.cancel_requested:
            job.cancel_requested = True
            self._apply(job, EventType.CANCEL_REQUESTED)
        return job.state not in (JobState.SUCCEEDED, JobState.FAILED)

    def reap(self) -> list[UUID]:
        reaped = []
        for job_id, job in self.jobs.items():
            if job.lease_expires_at is not None and job.lease_expires_at < self.moment:
                job.lost_attempts += 1
                is_last = job.lost_attempts >= MAX_LOST_ATTEMPTS
                failed = EventType.FAILED if is_last else EventType.LEASE_EXPIRED
                self._apply(job, EventType.CANCELLED if job.cancel_requested else failed, outcome="lost")
                reaped.append(job_id)
        return reaped

    def end_cancelled(self) -> list[UUID]:
        ended = [
            job_id
            for job_id, job in self.jobs.items()
            if job.state == JobState.QUEUED and job.cancel_requested
        ]
        for job_id in ended:
            self._apply(self.jobs[job_id], EventType.CANCELLED)
        return ended

    def _apply(self, job: JobModel, event: EventType, outcome: str | None = None) -> None:
        job.events.append((event, job.attempt))
        job.version += 1
        job.state = EVENTS[event].target or job.state
        if outcome is not None:
            job.attempts[-1] = (job.attempts[-1][0], outcome)
        if not job.is_running:
            job.owner = job.lease_expires_at = job.phase = None
        if job.state in TERMINAL:
            job.checkpoint = None


_EVENTS = select(JobEvent.job_id, JobEvent.type, JobEvent.attempt, JobEvent.seq).order_by(JobEvent.seq)
_ATTEMPTS = select(Attempt.job_id, Attempt.worker, Attempt.outcome, Attempt.number).order_by(Attempt.number)
_EPOCHS = select(Epoch.job_id, Epoch.attempt, Epoch.values, Epoch.epoch).order_by(Epoch.epoch)
_CHECKPOINTS = select(Checkpoint.job_id, Checkpoint.next_epoch)
_MODELS = select(Model.id)
_EVALUATED = select(ClassResult.job_id, func.sum(ClassResult.count)).group_by(ClassResult.job_id)
_JOBS = select(*Job.__table__.columns).order_by(Job.id)


def stored_jobs(database: Database) -> dict[UUID, JobModel]:
    """Read every job and its rows as the model's objects."""
    with database.engine.connect() as connection:
        events, attempts, epochs = (
            _grouped(connection.execute(rows)) for rows in (_EVENTS, _ATTEMPTS, _EPOCHS)
        )
        checkpoints = dict(connection.execute(_CHECKPOINTS).all())
        evaluated = dict(connection.execute(_EVALUATED).all())
        models = connection.execute(_MODELS).scalars().all()
        rows = connection.execute(_JOBS).all()
    stored = {}
    for job in rows:
        assert [row[-1] for row in epochs[job.id]] == list(range(job.next_epoch))
        assert [row[-1] for row in events[job.id]] == list(range(1, job.version + 1))
        assert [row[-1] for row in attempts[job.id]] == list(range(1, job.attempt + 1))
        stored[job.id] = JobModel(
            max_attempts=job.max_attempts,
            priority=job.priority,
            scheduled_at=job.scheduled_at,
            place=job.place,
            tenant=job.tenant,
            key=job.api_key_id,
            state=job.state,
            attempt=job.attempt,
            version=job.version,
            failures=job.failures,
            lost_attempts=job.lost_attempts,
            cancel_requested=job.cancel_requested_at is not None,
            owner=job.lease_owner,
            lease_expires_at=job.lease_expires_at,
            phase=job.phase,
            events=[row[:-1] for row in events[job.id]],
            attempts=[row[:-1] for row in attempts[job.id]],
            epochs=[row[:-1] for row in epochs[job.id]],
            checkpoint=checkpoints.get(job.id),
            results=(models.count(job.id), evaluated.get(job.id, 0)),
        )
    return stored


def stored_requests(database: Database) -> dict[AttemptId, Request]:
    """Read the preemptions as the model's objects."""
    with database.engine.connect() as connection:
        rows = connection.execute(select(*Preemption.__table__.columns)).all()
    return {
        AttemptId(row.victim_id, row.victim_attempt): Request(row.urgent_id, row.preempted_at is not None)
        for row in rows
    }


def _grouped(rows: Iterable[Any]) -> dict[UUID, list[Any]]:
    """Group rows by job id."""
    grouped: dict[UUID, list[Any]] = defaultdict(list)
    for job_id, *rest in rows:
        grouped[job_id].append(tuple(rest))
    return grouped
