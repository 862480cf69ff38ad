"""A Hypothesis state machine that drives the store in random order and compares it with `store_model`.

It simulates clients, three workers and reconcilers. A worker may stall: others continue, and later it wakes
and writes under its old attempt. Workers are woken up whether a job waits or not. Any transaction may run
twice, as after a lost reply to its commit, or be rolled back and run again. The clock moves only in
`reconcile`. After every step all stored rows must equal the model's and satisfy its invariants.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import (
    ApiKey,
    Checkpoint,
    IdempotencyKey,
    Job,
    Model,
    Queue,
    Tenant,
    Worker,
)
from shared.errors import IdempotencyKeyReused, JobAlreadyFinished, StaleAttempt
from shared.formats.classification import classification
from shared.lifecycle import TERMINAL, Phase
from shared.schemas import ApiKeyUpdate, Priority, Scope
from shared.store import (
    api_keys,
    attempts,
    claims,
    dispatch,
    job_edits,
    leases,
    limits,
    preemption,
    recovery,
    tenants,
)
from shared.store.claims import Claim
from shared.store.idempotency import Idempotency
from shared.store.known_turns import KnownTurns
from shared.store.progress import Progress
from shared.store.submissions import Submitter
from shared.store.submit import submit_job
from shared.store.transitions import AttemptFailure, AttemptId
from tests.support.factories import (
    make_epoch,
    make_model,
    make_new_job,
    make_progress,
    make_worker,
    make_worker_info,
)
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import succeed_attempt
from tests.support.slots_model import MIN_RUN_S
from tests.support.store_model import (
    LEASE_S,
    MAX_LOST_ATTEMPTS,
    RETRY_S,
    RULES,
    WORKERS,
    StoreModel,
    stored_jobs,
    stored_requests,
)

T = TypeVar("T")

_MAX_JOBS = 14
_MAX_UNFINISHED = 4
# two classes are stored more quickly than ten
_EVALUATION = classification([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])
_FAILURE = AttemptFailure("internal", "it broke")

# a transaction runs once; or is committed and run again; or is rolled back and run again
_RUNS = st.sampled_from(("once", "once", "twice", "after a rollback"))
_TEAM, _WEIGHT = "t", 2.0
_USED_S = st.sampled_from((0.5, 3.0, 20.0))
_LIMITS = st.sampled_from((None, None, None, 1, 2, 3))
_SECONDS = st.sampled_from((0, 1, 4.999, 8.001, 30, 31, 31))
_WRITES = st.sampled_from(
    (
        *("renew", "record", "record", "record", "record", "record"),
        *("succeed", "fail", "retry", "release", "cancel_attempt"),
    )
)
# what the write stores: `e` for an epoch, `t` and `v` for the phases that an attempt enters before and after
_PROGRESS = st.sampled_from(("e", "e", "ee", "t", "v", "te", "ev", "teev", "etve"))
_PHASES = {"t": Phase.TRAINING, "v": Phase.EVALUATING}


@dataclass
class _Held:
    """An attempt that a worker holds, and the epoch that it trains next."""

    attempt: AttemptId
    epoch: int


class _Rollback(Exception):
    """Undoes a transaction that was about to be committed."""


class StoreMachine(RuleBasedStateMachine):
    """One run: up to fourteen jobs from submit to a terminal state."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.clock = FrozenClock()
        keys = [api_keys.NewApiKey.draw() for _ in range(3)]
        alone, *of_team = (key.id for key in keys)
        self.submitters = [Submitter("address a"), Submitter(f"key {alone}", alone)]
        self.submitters += [Submitter(f"team {_TEAM}", key) for key in of_team]
        database.write(partial(_start_again, keys=keys, now=self.clock))
        self.model = StoreModel(self.clock.moment)
        self.workers: list[_Held | None] = [None] * len(WORKERS)
        self.stalled: list[_Held] = []
        self.keys: dict[str, tuple[str, UUID]] = {}
        self.claims = 0
        self.is_consistent = True

    def _write(self, run: str, work: Callable[[Session], T]) -> T:
        """Run a transaction in one of the ways of `_RUNS`; its outcome must not depend on which."""
        if run == "after a rollback":
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

        with suppress(_Rollback):
            self.database.write(undone)

    @initialize()
    def start(self) -> None:
        for number in range(_MAX_UNFINISHED):
            self._submit(max(1, 3 - number), None, "a", Priority.NORMAL, self.submitters[0], "once")

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """Do a random action that is possible now; the more it tests, the likelier it is.

        This is one rule because Hypothesis disables single rules for whole runs: without workers no job
        would end.
        """
        weights = {  # Hypothesis prefers the first
            "receive": 4 * (None in self.workers),
            "work": 6 * any(self.workers),
            "reconcile": 3,
            "wake": 3 * bool(self.stalled),
            "stall": 2 * any(self.workers),
            "hand_over": 6 * bool(self._victims()),
            "limit": 1,
            "use": 3,
            "urge": 5 * (all(self.workers) and not self._is_urged()),
            "submit": 2
            * (self.model.count_unfinished() < _MAX_UNFINISHED and len(self.model.jobs) < _MAX_JOBS),
            "lose_data": 2,
            "request_cancel": int(self.model.count_unfinished() > 1),
        }
        names = [name for name, weight in weights.items() for _ in range(weight)]
        getattr(self, data.draw(st.sampled_from(names), label="action"))(data)

    # clients

    def submit(self, data: st.DataObject) -> None:
        self._submit(
            data.draw(st.integers(1, 3), label="max_attempts"),
            data.draw(st.sampled_from((None, None, "k", "l")), label="key"),
            data.draw(st.sampled_from("ab"), label="request"),
            data.draw(st.sampled_from(Priority), label="priority"),
            data.draw(st.sampled_from(self.submitters), label="submitter"),
            data.draw(_RUNS),
        )

    def _is_urged(self) -> bool:
        """Whether an urgent job waits, or there have been too many jobs."""
        waiting = (job.priority == Priority.URGENT for job in self.model.jobs.values() if not job.attempt)
        return any(waiting) or len(self.model.jobs) >= _MAX_JOBS

    def urge(self, data: st.DataObject) -> None:
        """An urgent job is submitted while all workers are busy."""
        submitter = data.draw(st.sampled_from(self.submitters), label="submitter")
        self._submit(1, None, "a", Priority.URGENT, submitter, data.draw(_RUNS))

    def use(self, data: st.DataObject) -> None:
        """A worker writes what a tenant has used."""
        tenant, seconds = (
            data.draw(st.sampled_from(self.submitters), label="submitter").tenant,
            data.draw(_USED_S, label="seconds"),
        )
        weight = _WEIGHT if tenant.startswith("team") else 1.0
        used = {("default", tenant): tenants.Use(seconds / weight)}
        self.database.write(lambda session: tenants.add(session, used, now=self.clock))
        self.model.order.use(tenant, seconds, weight, self.clock.moment)

    def _submit(
        self,
        max_attempts: int,
        key: str | None,
        request: str,
        priority: Priority,
        submitter: Submitter,
        run: str,
    ) -> None:
        new = make_new_job(max_attempts=max_attempts, priority=priority)
        idempotency = None if key is None else Idempotency(key, request * 64)

        def work(session: Session) -> tuple[UUID, bool] | None:
            try:
                return submit_job(
                    session,
                    new,
                    idempotency=idempotency,
                    submitter=submitter,
                    rules=RULES,
                    now=self.clock,
                )
            except IdempotencyKeyReused:
                return None

        result = self._write(run, work)
        first_request, first_id = self.keys.setdefault(key, (request, new.id)) if key else (request, new.id)
        assert result == ((first_id, first_id == new.id) if request == first_request else None)
        if first_id == new.id:
            self.model.submit(new.id, max_attempts, submitter.tenant, priority, submitter.api_key_id)

    def request_cancel(self, data: st.DataObject) -> None:
        unfinished = [job_id for job_id, job in self.model.jobs.items() if job.state not in TERMINAL]
        job_id = self._draw_from(data, [*unfinished, *self.model.jobs])

        def work(session: Session) -> bool:
            try:
                job_edits.request_cancel(session, job_id, now=self.clock)
            except JobAlreadyFinished:
                return False
            return True

        assert self._write(data.draw(_RUNS), work) == self.model.request_cancel(job_id)

    def limit(self, data: st.DataObject) -> None:
        """Limit how many jobs run at the same time, of the queue or of a key."""
        key, max_running = (
            data.draw(st.sampled_from([each.api_key_id for each in self.submitters])),
            data.draw(_LIMITS),
        )
        if key is None:
            change = partial(limits.limit_queue, queue="default", max_running=max_running)
            self.model.slots.queue_limit = max_running
            self._write(data.draw(_RUNS), change)
        else:
            changes = ApiKeyUpdate(max_running=max_running)
            self.model.slots.key_limits[key] = max_running
            self._write(data.draw(_RUNS), partial(api_keys.change, key_id=key, changes=changes))

    # workers

    def receive(self, data: st.DataObject) -> None:
        """A free worker is woken up, whether a job waits or not, and claims the next job."""
        worker = self.workers.index(None)
        claim = self._claim(f"worker-{worker}", data.draw(_RUNS))
        if claim is not None:
            self.workers[worker] = _held(claim)

    def work(self, data: st.DataObject) -> None:
        """A worker writes; if its attempt is stale, the write must be refused, and the worker is free."""
        worker = self._draw_from(data, [number for number, held in enumerate(self.workers) if held])
        held = self.workers[worker]
        assert held is not None
        is_stale = not self.model.is_current(held.attempt)
        if self._draw_write(data, held) or is_stale:
            self.workers[worker] = None
        if is_stale:
            self.stalled.append(held)

    def _victims(self) -> list[int]:
        """The workers whose attempt is to be preempted."""
        held = [(number, each.attempt) for number, each in enumerate(self.workers) if each]
        return [
            number
            for number, attempt in held
            if self.model.is_current(attempt) and self.model.urgent_of(attempt)
        ]

    def hand_over(self, data: st.DataObject) -> None:
        """A worker that is told so at an epoch releases its job and claims the urgent one.

        Or the next one, if that was cancelled meanwhile.
        """
        number = self._draw_from(data, self._victims())
        held = self.workers[number]
        assert held is not None
        victim, urgent = held.attempt, self.model.urgent_of(held.attempt)
        assert urgent is not None
        self._write_ends_attempt(held, "record", "e", "once")
        if data.draw(st.booleans(), label="meanwhile"):
            self.request_cancel(data)
        if not self.model.is_current(victim):
            return
        owner = self._next_owner(f"worker-{number}")

        def work(session: Session) -> Claim | None:
            attempts.release(session, victim, preempted_by=urgent, now=self.clock)
            return self._claim_in(session, f"worker-{number}", owner, before_all=urgent)

        claim = self._write(data.draw(_RUNS), work)
        assert (claim and claim.attempt) == self.model.hand_over(victim, urgent, f"worker-{number}", owner)
        self.workers[number] = None if claim is None else _held(claim)

    def stall(self, data: st.DataObject) -> None:
        """A worker stalls in the middle of its attempt, and another worker takes its place."""
        worker = self._draw_from(data, [number for number, held in enumerate(self.workers) if held])
        held, self.workers[worker] = self.workers[worker], None
        assert held is not None
        self.stalled.append(held)

    def wake(self, data: st.DataObject) -> None:
        """A stalled worker writes again, preferably while another runs its job."""
        superseded = [held for held in self.stalled if self.model.jobs[held.attempt.job_id].is_running]
        held = self._draw_from(data, superseded + self.stalled)
        if self._draw_write(data, held):
            self.stalled.remove(held)

    def _claim(self, worker: str, run: str) -> Claim | None:
        owner = self._next_owner(worker)
        claim = self._write(run, lambda session: self._claim_in(session, worker, owner))
        expected = self.model.claim(worker, owner)
        assert (claim and claim.attempt) == expected
        if claim is not None:
            next_epoch = claim.checkpoint.next_epoch if claim.checkpoint else None
            assert next_epoch == self.model.jobs[claim.attempt.job_id].checkpoint
        return claim

    def _next_owner(self, worker: str) -> str:
        self.claims += 1
        return f"{worker}/{self.claims}"

    def _claim_in(
        self, session: Session, worker: str, owner: str, before_all: UUID | None = None
    ) -> Claim | None:
        known = KnownTurns(RULES, stale_s=0.0)
        claim = partial(claims.claim, lease_s=LEASE_S, before_all=before_all, known=known, now=self.clock)
        return claim(session, ["default"], worker=make_worker_info(name=worker), owner=owner)

    def _draw_write(self, data: st.DataObject, held: _Held) -> bool:
        return self._write_ends_attempt(held, data.draw(_WRITES), data.draw(_PROGRESS), data.draw(_RUNS))

    def _write_ends_attempt(self, held: _Held, write: str, progress: str, run: str) -> bool:
        """Do one write of an attempt, and return whether it ended the attempt."""
        made = _progress(held.epoch, progress)
        if not self.model.is_current(held.attempt):
            assert self._is_refused(held, write, made, run), f"{held.attempt} is stale, but may {write}"
            return False
        actual, expected = self._on_store(held, write, made), self._on_model(held, write, made)
        assert self._write(run, actual) == expected()
        held.epoch += len(made.epochs) if write == "record" else 0
        return not self.model.is_current(held.attempt)

    def _is_refused(self, held: _Held, write: str, progress: Progress, run: str) -> bool:
        def work(session: Session) -> bool:
            try:
                self._on_store(held, write, progress)(session)
            except StaleAttempt:
                return True
            return False

        return self._write(run, work)

    def _on_store(self, held: _Held, write: str, progress: Progress) -> Callable[[Session], Any]:
        model, failure = make_model(evaluation=_EVALUATION), _FAILURE
        works: dict[str, Callable[..., Any]] = {
            "renew": _renewed,
            "record": partial(attempts.record, progress=progress, lease_s=LEASE_S),
            "succeed": partial(succeed_attempt, produced=model.produced, progress=progress),
            "fail": partial(attempts.fail, failure=failure, progress=progress, retry_in_s=None),
            "retry": partial(attempts.fail, failure=failure, progress=progress, retry_in_s=RETRY_S),
            "release": partial(attempts.release, progress=progress),
            "cancel_attempt": partial(attempts.cancel_attempt, progress=progress),
        }
        return partial(works[write], attempt=held.attempt, now=self.clock)

    def _on_model(self, held: _Held, write: str, progress: Progress) -> Callable[[], Any]:
        job_id, model = held.attempt.job_id, self.model
        works: dict[str, Callable[[], Any]] = {
            "renew": lambda: model.renew(job_id),
            "record": lambda: model.record(job_id, progress),
            "succeed": lambda: model.succeed(job_id, progress),
            "fail": lambda: model.fail(job_id, progress, retry=False),
            "retry": lambda: model.fail(job_id, progress, retry=True),
            "release": lambda: model.release(job_id, progress),
            "cancel_attempt": lambda: model.cancel_attempt(job_id, progress),
        }
        return works[write]

    # reconcilers, time and losses

    def reconcile(self, data: st.DataObject) -> None:
        self._reconcile(data.draw(_SECONDS, label="seconds later"))

    def _reconcile(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.model.moment = self.clock.moment
        ended = self.database.write(lambda session: recovery.end_cancelled(session, now=self.clock))
        assert ended == self.model.end_cancelled()
        reap = partial(recovery.reap, max_lost_attempts=MAX_LOST_ATTEMPTS, lease_s=30.0, now=self.clock)
        reaped = self.database.write(reap)
        assert [lost.attempt.job_id for lost in reaped] == self.model.reap()
        request = partial(preemption.request, queue_names=["default"], min_run_s=MIN_RUN_S, now=self.clock)
        assert self.database.write(request) == self.model.request_preemptions()
        due = self.database.read(lambda session: dispatch.due(session, ["default"], limit=1, now=self.clock))
        assert due == ({} if self.model.next_job() is None else {"default": 1})

    def lose_data(self, data: st.DataObject) -> None:
        lost = data.draw(st.sampled_from(("checkpoint state", "checkpoint row")), label="lost")
        with_checkpoint = [job_id for job_id, job in self.model.jobs.items() if job.checkpoint is not None]
        if with_checkpoint:
            self._damage_checkpoint(self._draw_from(data, with_checkpoint), missing=lost == "checkpoint row")

    def _damage_checkpoint(self, job_id: UUID, missing: bool) -> None:
        of_job = Checkpoint.job_id == job_id
        damage: Any = update(Checkpoint).where(of_job).values(state=b"?")
        if missing:
            damage, self.model.jobs[job_id].checkpoint = delete(Checkpoint).where(of_job), None
        self.model.damaged.add(job_id)
        self.database.write(lambda session: session.execute(damage))

    def _draw_from(self, data: st.DataObject, of: Sequence[T]) -> T:
        # drawn by index: the ids differ in every run, so Hypothesis could not repeat them
        return of[data.draw(st.integers(0, len(of) - 1), label="index")]

    # comparison with the model

    @invariant()
    def the_rows_equal_the_model_and_satisfy_its_invariants(self) -> None:
        self.is_consistent = False
        stored = stored_jobs(self.database)
        assert stored == self.model.jobs
        assert stored_requests(self.database) == self.model.slots.requests
        for job in stored.values():
            job.check()
        self.is_consistent = True

    def teardown(self) -> None:
        """I1: when nothing is lost any more, every accepted job ends within two rounds of the reconciler."""
        if not self.is_consistent:
            return
        for _ in range(2):
            self._reconcile(31)
            self._run_due_jobs()
        assert {job.state for job in self.model.jobs.values()} <= TERMINAL
        self.the_rows_equal_the_model_and_satisfy_its_invariants()

    def _run_due_jobs(self) -> None:
        """A worker runs every job that is due, without faults."""
        while claim := self._claim("worker-0", "once"):
            for write in ("record", "succeed"):
                self._write_ends_attempt(_held(claim), write, "e" if write == "record" else "", "once")


def _held(claim: Claim) -> _Held:
    return _Held(claim.attempt, claim.checkpoint.next_epoch if claim.checkpoint else 0)


def _renewed(session: Session, attempt: AttemptId, now: FrozenClock) -> leases.Standing:
    """Renew a lease, and return what is asked of the attempt, as a worker's parent does."""
    if attempt not in leases.renew(session, [attempt], lease_s=LEASE_S, now=now):
        raise StaleAttempt
    return leases.look(session, [attempt], WORKERS[0]).standings[attempt]


def _progress(epoch: int, shape: str) -> Progress:
    """Return progress of a shape from `_PROGRESS`, whose first epoch has this number."""
    epochs = map(make_epoch, count(epoch))
    return make_progress(*(next(epochs) if kind == "e" else _PHASES[kind] for kind in shape))


def _start_again(session: Session, keys: Sequence[api_keys.NewApiKey], now: FrozenClock) -> None:
    """Delete all rows; store idle workers and API keys."""
    for table in (IdempotencyKey, Tenant, Queue, ApiKey, Worker, Model, Job):
        session.execute(delete(table))
    for number, key in enumerate(keys):
        team, weight = (_TEAM, _WEIGHT) if number else (None, 1.0)
        api_keys.create(session, key, name="a key", scope=Scope.SUBMIT, team=team, weight=weight)
    for name in WORKERS:
        session.add(make_worker(id=name, heartbeat_at=now(), lost_after_s=1e9))


def run_machine(database: Database, runs: int) -> None:
    """Run the machine `runs` times, 50 steps each, on a migrated database that nothing else uses."""

    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(database)

    profile = settings(
        max_examples=runs, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Machine, settings=profile)
