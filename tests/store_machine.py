"""Drives the store as clients, workers and reconcilers do, in any order, and compares it with the model.

Three workers hold attempts. Any of them may be stalled: it stops, others go on, and later it wakes and writes under
its old attempt. Messages are lost, doubled and late. Any transaction may be run twice, because the answer to its
commit was lost, or be rolled back and run again. The clock moves only when told. After each step everything that is
stored must be what the model says, and keep the promises.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from shared import jobs, recovery
from shared.db import Database
from shared.errors import IdempotencyKeyReused, JobAlreadyFinished, StaleAttempt
from shared.jobs import Claim, Idempotency
from shared.lifecycle import TERMINAL, Phase
from shared.tables import Attempt, Checkpoint, Confusion, Epoch, Evaluation, Job, JobEvent, Model
from shared.transitions import AttemptFailure, AttemptId
from tests.factories import make_epoch, make_model, make_new_job, make_worker_info
from tests.fakes import FrozenClock
from tests.store_model import LEASE_S, MAX_CRASHES, RETRY_S, JobModel, StoreModel

T = TypeVar("T")

_JOBS = 4
_WORKERS = 3
_LOST_AFTER_S = 8.0
_FAILURE = AttemptFailure("internal", "it broke")

# how a transaction goes: once; committed, unanswered and run again; rolled back and run again
_RUNS = st.sampled_from(("once", "once", "twice", "again"))
_PICKS = st.integers(0, 11)
_WRITES = st.sampled_from(
    (
        *("renew", "record", "record", "record 2", "enter_phase"),
        *("succeed", "fail", "retry", "release", "cancel_attempt"),
    )
)


@dataclass
class _Held:
    """An attempt in the hands of a worker, and the epoch that it trains next."""

    attempt: AttemptId
    epoch: int


class _Rollback(Exception):
    """Undoes a transaction that was about to be committed."""


class StoreMachine(RuleBasedStateMachine):
    """One run: a few jobs from submit to their ends."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        database.write(_forget_everything)
        self.clock = FrozenClock()
        self.model = StoreModel(self.clock.moment)
        self.messages: list[UUID] = []
        self.workers: list[_Held | None] = [None] * _WORKERS
        self.stalled: list[_Held] = []
        self.keys: dict[str, tuple[str, UUID]] = {}
        self.claims = 0
        self.as_promised = True

    def _write(self, run: str, work: Callable[[Session], T]) -> T:
        """Run a transaction; whatever the run, its outcome must be that of running it once."""
        if run == "again":
            self._roll_back(work)
        outcome = self.database.write(work)
        if run == "twice":
            assert self.database.write(work) == outcome
        return outcome

    def _roll_back(self, work: Callable[[Session], Any]) -> None:
        def undone(session: Session) -> None:
            work(session)
            session.flush()
            raise _Rollback

        try:
            self.database.write(undone)
        except _Rollback:
            pass

    # clients

    @rule(max_attempts=st.integers(1, 3), run=_RUNS)
    @precondition(lambda self: len(self.model.jobs) < _JOBS)
    def submit(self, max_attempts: int, run: str) -> None:
        new = make_new_job(max_attempts=max_attempts)
        made = self._write(run, lambda session: jobs.submit(session, new, now=self.clock))
        assert made == (new.id, True)
        self.model.submit(new.id, max_attempts)
        self.messages.append(new.id)

    @rule(key=st.sampled_from("kl"), request=st.sampled_from("ab"), run=_RUNS)
    @precondition(lambda self: len(self.model.jobs) < _JOBS)
    def submit_with_a_key(self, key: str, request: str, run: str) -> None:
        new, idempotency = make_new_job(), Idempotency(key, request * 64)

        def work(session: Session) -> tuple[UUID, bool] | None:
            try:
                return jobs.submit(session, new, idempotency=idempotency, now=self.clock)
            except IdempotencyKeyReused:
                return None

        made = self._write(run, work)
        first_request, first_id = self.keys.setdefault(key, (request, new.id))
        assert made == ((first_id, first_id == new.id) if request == first_request else None)
        if first_id == new.id:
            self.model.submit(new.id, new.max_attempts)
            self.messages.append(new.id)

    @rule(pick=_PICKS, run=_RUNS)
    @precondition(lambda self: self.model.jobs)
    def request_cancel(self, pick: int, run: str) -> None:
        job_id = self._job(pick)

        def work(session: Session) -> bool:
            try:
                jobs.request_cancel(session, job_id, now=self.clock)
            except JobAlreadyFinished:
                return False
            return True

        assert self._write(run, work) == self.model.request_cancel(job_id)

    # workers

    @rule(worker=st.integers(0, _WORKERS - 1), pick=_PICKS, run=_RUNS)
    @precondition(lambda self: self.messages and None in self.workers)
    def receive(self, worker: int, pick: int, run: str) -> None:
        """A free worker takes a message, and what there is to claim."""
        while self.workers[worker] is not None:
            worker = (worker + 1) % _WORKERS
        job_id = self.messages.pop(pick % len(self.messages))
        claim = self._claim(job_id, f"worker-{worker}", run)
        if claim is not None:
            self.workers[worker] = _Held(
                claim.attempt, claim.checkpoint.next_epoch if claim.checkpoint else 0
            )

    def _claim(self, job_id: UUID, worker: str, run: str) -> Claim | None:
        self.claims += 1
        owner, info = f"{worker}/{self.claims}", make_worker_info(name=worker)
        claim = self._write(
            run,
            lambda session: jobs.claim(
                session, job_id, worker=info, owner=owner, lease_s=LEASE_S, now=self.clock
            ),
        )
        expected = self.model.claim(job_id, worker, owner)
        assert (claim and claim.attempt) == expected
        if claim is not None:
            found = claim.checkpoint.next_epoch if claim.checkpoint else None
            assert found == self.model.jobs[job_id].checkpoint
        return claim

    @rule(pick=_PICKS, write=_WRITES, run=_RUNS)
    @precondition(lambda self: any(self.workers))
    def work(self, pick: int, write: str, run: str) -> None:
        """A worker writes; it may have lost its job without knowing."""
        busy = [number for number, held in enumerate(self.workers) if held is not None]
        worker = busy[pick % len(busy)]
        held = self.workers[worker]
        assert held is not None
        if self._is_over_after(held, write, run):
            self.workers[worker] = None

    @rule(pick=_PICKS)
    @precondition(lambda self: any(self.workers))
    def stall(self, pick: int) -> None:
        """A worker stops in the middle of its attempt; another process takes its place."""
        busy = [number for number, held in enumerate(self.workers) if held is not None]
        worker = busy[pick % len(busy)]
        held, self.workers[worker] = self.workers[worker], None
        assert held is not None
        self.stalled.append(held)

    @rule(pick=_PICKS, write=_WRITES, run=_RUNS)
    @precondition(lambda self: self.stalled)
    def wake(self, pick: int, write: str, run: str) -> None:
        """A stalled worker goes on where it was."""
        held = self.stalled[pick % len(self.stalled)]
        if self._is_over_after(held, write, run):
            self.stalled.remove(held)

    def _is_over_after(self, held: _Held, write: str, run: str) -> bool:
        """Do one write of an attempt; says whether the attempt knows then that it is over."""
        if not self.model.is_current(held.attempt):
            assert self._is_refused(held, write, run), f"{held.attempt} is stale, and could {write}"
            return True
        actual, expected = self._on_store(held, write), self._on_model(held, write)
        assert self._write(run, actual) == expected()
        held.epoch += {"record": 1, "record 2": 2}.get(write, 0)
        return not self.model.is_current(held.attempt)

    def _is_refused(self, held: _Held, write: str, run: str) -> bool:
        def work(session: Session) -> bool:
            try:
                self._on_store(held, write)(session)
            except StaleAttempt:
                return True
            return False

        return self._write(run, work)

    def _on_store(self, held: _Held, write: str) -> Callable[[Session], Any]:
        attempt, now, model = held.attempt, self.clock, make_model()
        epochs = [make_epoch(held.epoch), make_epoch(held.epoch + 1)]
        works: dict[str, Callable[[Session], Any]] = {
            "renew": lambda session: jobs.renew(session, attempt, lease_s=LEASE_S, now=now),
            "enter_phase": lambda session: jobs.enter_phase(session, attempt, Phase.TRAINING, now=now),
            "record": lambda session: jobs.record(
                session, attempt, epochs[:1], b"state", lease_s=LEASE_S, now=now
            ),
            "record 2": lambda session: jobs.record(
                session, attempt, epochs, b"state", lease_s=LEASE_S, now=now
            ),
            "succeed": lambda session: jobs.succeed_training(session, attempt, model, now=now),
            "fail": lambda session: jobs.fail(session, attempt, _FAILURE, retry_in_s=None, now=now),
            "retry": lambda session: jobs.fail(session, attempt, _FAILURE, retry_in_s=RETRY_S, now=now),
            "release": lambda session: jobs.release(session, attempt, now=now),
            "cancel_attempt": lambda session: jobs.cancel_attempt(session, attempt, now=now),
        }
        return works[write]

    def _on_model(self, held: _Held, write: str) -> Callable[[], Any]:
        job_id, model = held.attempt.job_id, self.model
        works: dict[str, Callable[[], Any]] = {
            "renew": lambda: model.renew(job_id),
            "enter_phase": lambda: model.enter_phase(job_id, Phase.TRAINING),
            "record": lambda: model.record(job_id, 1),
            "record 2": lambda: model.record(job_id, 2),
            "succeed": lambda: model.succeed(job_id),
            "fail": lambda: model.fail(job_id, retry=False),
            "retry": lambda: model.fail(job_id, retry=True),
            "release": lambda: model.release(job_id),
            "cancel_attempt": lambda: model.cancel_attempt(job_id),
        }
        return works[write]

    # reconcilers, time and accidents

    @rule()
    def reap(self) -> None:
        reaped = self._write(
            "once", lambda session: recovery.reap(session, max_crashes=MAX_CRASHES, now=self.clock)
        )
        assert reaped == self.model.reap()

    @rule()
    def end_cancelled(self) -> None:
        ended = self._write("once", lambda session: recovery.end_cancelled(session, now=self.clock))
        assert ended == self.model.end_cancelled()

    @rule(lost_after_s=st.sampled_from((None, _LOST_AFTER_S)))
    def take_undispatched(self, lost_after_s: float | None) -> None:
        hints = self._write(
            "once",
            lambda session: recovery.take_undispatched(
                session, ["default"], lost_after_s=lost_after_s, now=self.clock
            ),
        )
        taken = [hint.job_id for hint in hints]
        assert taken == self.model.take_undispatched(lost_after_s)
        self.messages += taken

    @rule(pick=_PICKS, run=_RUNS)
    @precondition(lambda self: self.model.jobs)
    def mark_undispatched(self, pick: int, run: str) -> None:
        job_id = self._job(pick)
        self._write(run, lambda session: recovery.mark_undispatched(session, [job_id]))
        self.model.mark_undispatched(job_id)

    @rule(seconds=st.sampled_from((1, 4.999, 8.001, 30, 31)))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.model.moment = self.clock.moment

    @rule(pick=_PICKS, doubled=st.booleans())
    @precondition(lambda self: self.messages)
    def lose_or_double_a_message(self, pick: int, doubled: bool) -> None:
        job_id = self.messages.pop(pick % len(self.messages))
        self.messages += [job_id] * 2 * doubled

    @rule(pick=_PICKS, missing=st.booleans())
    @precondition(lambda self: self._with_checkpoint())
    def damage_a_checkpoint(self, pick: int, missing: bool) -> None:
        able = self._with_checkpoint()
        job_id = able[pick % len(able)]
        mine = Checkpoint.job_id == job_id
        damage = (
            delete(Checkpoint).where(mine) if missing else update(Checkpoint).where(mine).values(state=b"?")
        )
        self.database.write(lambda session: session.execute(damage))
        self.model.damaged.add(job_id)
        if missing:
            self.model.jobs[job_id].checkpoint = None

    def _with_checkpoint(self) -> list[UUID]:
        return [job_id for job_id, job in self.model.jobs.items() if job.checkpoint is not None]

    def _job(self, pick: int) -> UUID:
        job_ids = list(self.model.jobs)
        return job_ids[pick % len(job_ids)]

    # what is compared

    @invariant()
    def stored_is_as_modelled_and_as_promised(self) -> None:
        self.as_promised = False
        stored = self.database.read(stored_jobs)
        assert stored == self.model.jobs
        for job in stored.values():
            job.check()
        self.as_promised = True

    def teardown(self) -> None:
        """I1: once the accidents end, every accepted job ends, within two rounds of the reconciler."""
        if not self.as_promised:
            return
        for _ in range(2):
            self.time_passes(31)
            self.reap()
            self.end_cancelled()
            self.messages.clear()
            self.take_undispatched(_LOST_AFTER_S)
            self._serve()
        assert {job.state for job in self.model.jobs.values()} <= TERMINAL
        self.stored_is_as_modelled_and_as_promised()

    def _serve(self) -> None:
        """A good worker does all that waits."""
        for job_id in self.messages:
            claim = self._claim(job_id, "worker-0", "once")
            if claim is not None:
                epoch = claim.checkpoint.next_epoch if claim.checkpoint else 0
                for write in ("record", "succeed"):
                    self._is_over_after(_Held(claim.attempt, epoch), write, "once")


def _forget_everything(session: Session) -> None:
    session.execute(delete(Model))
    session.execute(delete(Job))


def stored_jobs(session: Session) -> dict[UUID, JobModel]:
    """Everything that is stored, in the model's form."""
    events = _grouped(session, JobEvent.job_id, JobEvent.type, JobEvent.attempt, JobEvent.seq)
    attempts = _grouped(session, Attempt.job_id, Attempt.worker, Attempt.outcome, Attempt.number)
    epochs = _grouped(session, Epoch.job_id, Epoch.attempt, Epoch.loss, Epoch.epoch)
    checkpoints = {
        row.job_id: row.next_epoch
        for row in session.execute(select(Checkpoint.job_id, Checkpoint.next_epoch))
    }
    models = set(session.scalars(select(Model.job_id)))
    evaluations = set(session.scalars(select(Evaluation.job_id)))
    measured = select(Confusion.job_id, func.sum(Confusion.count)).group_by(Confusion.job_id)
    counts = {job_id: count for job_id, count in session.execute(measured)}
    stored = {}
    for job in session.scalars(select(Job).order_by(Job.id)):
        # a row out of its place shows as another list than the model's
        assert [row[-1] for row in epochs[job.id]] == list(range(job.next_epoch))
        assert [row[-1] for row in events[job.id]] == list(range(1, job.version + 1))
        assert [row[-1] for row in attempts[job.id]] == list(range(1, job.attempt + 1))
        stored[job.id] = JobModel(
            max_attempts=job.max_attempts,
            scheduled_at=job.scheduled_at,
            dispatched_at=job.dispatched_at,
            state=job.state,
            attempt=job.attempt,
            version=job.version,
            failures=job.failures,
            crashes=job.crashes,
            cancel_requested=job.cancel_requested_at is not None,
            owner=job.lease_owner,
            lease_expires_at=job.lease_expires_at,
            phase=job.phase,
            events=[row[:-1] for row in events[job.id]],
            attempts=[row[:-1] for row in attempts[job.id]],
            epochs=[row[:-1] for row in epochs[job.id]],
            checkpoint=checkpoints.get(job.id),
            results=(job.id in models, job.id in evaluations, counts.get(job.id, 0)),
        )
    return stored


def _grouped(session: Session, job_id: Any, *columns: Any) -> dict[UUID, list[Any]]:
    """Rows by their job, in the order of the last column."""
    grouped: dict[UUID, list[Any]] = defaultdict(list)
    for row in session.execute(select(job_id, *columns).order_by(job_id, columns[-1])):
        grouped[row[0]].append(tuple(row[1:]))
    return grouped
