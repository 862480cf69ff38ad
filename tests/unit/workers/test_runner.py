"""One attempt, from claim to report, with each of its outcomes."""

from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db.clock import database_now
from shared.errors import DataCorrupt, EvaluationNotFound, NonFiniteLoss
from shared.formats.classification import classification
from shared.formats.epochs import count_steps
from shared.formats.results import KERAS_FILE, MODEL, NewArtifact, Produced
from shared.lifecycle import AttemptOutcome, JobState, Phase
from shared.schemas import EvaluateSpec, JobDetail, TrainSpec
from tests.support import stored
from tests.support.databases import open_database
from tests.support.factories import make_evaluate_spec, make_regression, make_spec
from tests.support.pool_processes import watched
from tests.support.queue_driver import AttemptId, cancel, release, submit
from tests.support.stored import set_columns
from tests.support.stub_executor import DATA_SHA256, Behaviour, InterferingExecutor, StubExecutor
from tests.unit.workers.conftest import MakeProcess, claim_one, run_attempt, run_next
from workers.executor import Checkpoint, Monitor, StoredModel
from workers.pool_process import PoolProcess


def job(process: PoolProcess, job_id: UUID) -> JobDetail:
    return stored.detail(process.database, job_id)


def test_a_claim_whose_commit_was_not_confirmed_is_the_jobs_only_one(
    make_process: MakeProcess, database_url: str
) -> None:
    lost: list[Exception] = []

    def lose_reply(_session: Session) -> None:
        if lost:
            raise lost.pop()

    with open_database(database_url, committed=lose_reply) as database:
        process = replace(make_process(), database=database)
        job_ids = [submit(database) for _ in range(2)]
        lost.append(OperationalError("", {}, psycopg.OperationalError("the connection is lost")))
        claim = claim_one(process)
        assert claim is not None
        assert claim.attempt.job_id == job_ids[0]
        jobs = [stored.job(database, job_id) for job_id in job_ids]
        assert [(each.state, each.attempt) for each in jobs] == [(JobState.RUNNING, 1), (JobState.QUEUED, 0)]


def test_training_job_stores_epochs_model_and_evaluation(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = submit(process.database)
    run_next(process)
    ended = job(process, job_id)
    assert ended.state == JobState.SUCCEEDED
    assert ended.progress is not None
    assert ended.progress.percent == 100
    assert [attempt.outcome for attempt in ended.attempts] == [AttemptOutcome.SUCCEEDED]
    epochs = process.database.read(lambda session: stored.epochs(session, job_id))
    assert [epoch.epoch for epoch in epochs] == [0, 1, 2]
    assert [count_steps(epoch.steps) for epoch in epochs] == [2, 2, 2]
    model_id = ended.model_id
    assert model_id is not None
    assert stored.model(process.database, model_id).job_id == job_id
    assert stored.evaluation(process.database, job_id).size == 50


def test_evaluation_job_evaluates_the_stored_model(make_process: MakeProcess) -> None:
    process = make_process()
    trained = submit(process.database)
    run_next(process)
    model_id = job(process, trained).model_id
    assert model_id is not None
    spec = make_evaluate_spec(model_id, evaluation_size=20, threshold=0.5)
    evaluated = submit(process.database, kind="evaluate", spec=spec, model_id=model_id)
    run_next(process)
    assert job(process, evaluated).state == JobState.SUCCEEDED
    evaluation = stored.evaluation(process.database, evaluated)
    assert (evaluation.size, evaluation.threshold, evaluation.model_id) == (20, 0.5, model_id)


@pytest.mark.parametrize(
    "produced",
    [
        Produced(),
        Produced(result=make_regression()),
        Produced(artifacts=(NewArtifact("model.pkl", b"a model", MODEL),), result=make_regression()),
        Produced(result=classification(np.eye(3), [0, 1, 1])),
    ],
)
def test_a_training_job_may_end_with_any_results(make_process: MakeProcess, produced: Produced) -> None:
    class Regression(StubExecutor):
        def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
            return produced

    process = make_process()
    job_id = submit(process.database)
    run_next(replace(process, executor=Regression(process.settings)))
    ended = job(process, job_id)
    assert (ended.state, ended.model_id) == (JobState.SUCCEEDED, job_id if produced.has_model else None)
    if produced.result is None:
        with pytest.raises(EvaluationNotFound):
            stored.evaluation(process.database, job_id)
    else:
        assert stored.evaluation(process.database, job_id).values == produced.result.values


def test_a_job_that_keeps_nothing_leaves_six_rows_at_most(make_process: MakeProcess) -> None:
    class NothingKept(StubExecutor):
        def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
            monitor.phase(Phase.TRAINING)
            return Produced()

    process = replace(make_process(), executor=NothingKept(make_process().settings))
    submit(process.database)
    run_next(process)  # stores what every job needs
    before = Counter(process.database.read(stored.rows_by_table))
    submit(process.database)
    run_next(process)
    left = Counter(process.database.read(stored.rows_by_table)) - before
    assert left == {"jobs": 1, "attempts": 1, "job_events": 4}


def test_a_model_is_evaluated_by_its_files(make_process: MakeProcess) -> None:
    class OfOtherCode(StubExecutor):
        def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
            return Produced(artifacts=(NewArtifact("a.pt", b"a", MODEL), NewArtifact("log.txt", b"b")))

        def evaluate(self, spec: EvaluateSpec, model: StoredModel, monitor: Monitor) -> Produced:
            return Produced(
                result=make_regression(values={"files": len(model.files), "a": model.files["a.pt"][0]})
            )

    process = replace(make_process(), executor=OfOtherCode(make_process().settings))
    trained = submit(process.database)
    run_next(process)
    evaluated = submit(process.database, kind="evaluate", spec=make_evaluate_spec(trained), model_id=trained)
    run_next(process)
    assert stored.evaluation(process.database, evaluated).values == {"files": 1.0, "a": float(ord("a"))}
    [of_model] = stored.model(process.database, trained).evaluations
    assert (of_model.job_id, of_model.type, of_model.accuracy) == (evaluated, "values", None)


def test_evaluation_of_an_unknown_model_fails_without_a_retry(make_process: MakeProcess) -> None:
    process = make_process()
    missing = uuid4()
    job_id = submit(process.database, kind="evaluate", spec=make_evaluate_spec(missing))
    run_next(process)
    failed = job(process, job_id)
    assert failed.state == JobState.FAILED
    assert failed.error is not None
    assert failed.error.code == "model_not_found"
    assert str(missing) in failed.error.message


def test_nothing_is_run_if_no_job_can_start(make_process: MakeProcess) -> None:
    assert not run_next(make_process())


def test_second_message_for_a_finished_job_changes_nothing(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = submit(process.database)
    run_next(process)
    version = job(process, job_id).version
    run_next(process)
    assert job(process, job_id).version == version


def test_transient_error_is_retried_later_until_no_attempts_are_left(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = submit(process.database, spec=make_spec(seed=Behaviour.DATA_UNAVAILABLE), max_attempts=1)
    run_next(process)
    assert job(process, job_id).state == JobState.FAILED
    retried = submit(process.database, spec=make_spec(seed=Behaviour.DATA_UNAVAILABLE), max_attempts=2)
    run_next(process)
    queued = job(process, retried)
    assert queued.state == JobState.QUEUED
    assert queued.scheduled_at > queued.created_at
    assert queued.attempts[0].error_code == "data_unavailable"
    run_next(process)
    assert job(process, retried).attempt == 1, "it was claimed before it was due"


def test_a_dataset_that_is_away_costs_no_attempt_for_a_while(make_process: MakeProcess) -> None:
    process = make_process(data_outage_s=100.0)
    job_id = submit(process.database, spec=make_spec(seed=Behaviour.DATA_UNAVAILABLE), max_attempts=2)
    for _ in range(3):
        run_next(process)
        set_columns(process.database, job_id, scheduled_at=database_now())
    waiting = job(process, job_id)
    assert (waiting.state, waiting.attempt, waiting.attempts[-1].error_code) == (
        JobState.QUEUED,
        3,
        "data_unavailable",
    )


@pytest.mark.parametrize("error", [DataCorrupt("no PNG"), NonFiniteLoss("nan in epoch 0")])
def test_permanent_error_fails_the_job_without_a_retry(
    make_process: MakeProcess, error: DataCorrupt | NonFiniteLoss
) -> None:
    def fail() -> None:
        raise error

    process = make_process()
    process = replace(process, executor=InterferingExecutor(process.settings, fail))
    job_id = submit(process.database)
    run_next(process)
    failed = job(process, job_id)
    assert failed.state == JobState.FAILED
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == (error.code, str(error))


def test_unforeseen_error_is_recorded_and_retried(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = submit(process.database, spec=make_spec(seed=Behaviour.RAISES))
    run_next(process)
    queued = job(process, job_id)
    assert queued.state == JobState.QUEUED
    assert queued.attempts[0].error_message == "RuntimeError: an unforeseen error"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SystemExit("cannot go on"), "SystemExit: cannot go on"),
        (GeneratorExit("left"), "GeneratorExit: left"),
        (CancelledError("a task of the executor"), "CancelledError: a task of the executor"),
        (BaseException("whatever"), "BaseException: whatever"),
    ],
)
def test_an_error_that_is_no_exception_ends_the_attempt_at_once(
    make_process: MakeProcess, error: BaseException, text: str
) -> None:
    process = make_process()

    def interfere() -> None:
        raise error

    process = make_process(executor=InterferingExecutor(process.settings, interfere))
    job_id = submit(process.database)
    assert run_next(process)
    [attempt] = job(process, job_id).attempts
    assert (attempt.outcome, attempt.error_code, attempt.error_message) == (
        "failed",
        "internal",
        text.strip(),
    )


@pytest.mark.parametrize("seed", [Behaviour.LOADS_DATA, 1])
def test_the_attempt_has_the_checksum_of_its_data_beside_its_versions(
    make_process: MakeProcess, seed: int
) -> None:
    process = make_process()
    job_id = submit(process.database, spec=make_spec(seed=seed))
    assert run_next(process)
    [attempt] = job(process, job_id).attempts
    sha256 = DATA_SHA256 if seed == Behaviour.LOADS_DATA else None
    assert (attempt.versions, attempt.dataset_sha256) == (process.info.versions, sha256)
    detail = stored.model(process.database, job_id)
    assert (detail.versions, detail.dataset_sha256) == (process.info.versions, sha256)


def test_ctrl_c_is_no_failure_of_the_job(make_process: MakeProcess) -> None:
    process = make_process()

    def interfere() -> None:
        raise KeyboardInterrupt

    process = make_process(executor=InterferingExecutor(process.settings, interfere))
    job_id = submit(process.database)
    with pytest.raises(KeyboardInterrupt):
        run_next(process)
    assert stored.attempt(process.database, job_id, 1).outcome is None


def test_stopped_worker_releases_the_job_and_the_next_attempt_resumes_it(make_process: MakeProcess) -> None:
    stopping = make_process()
    stopping = replace(stopping, executor=InterferingExecutor(stopping.settings, stopping.stop.set))
    job_id = submit(stopping.database)
    run_next(stopping)
    released = job(stopping, job_id)
    assert released.state == JobState.QUEUED
    assert released.lost_attempts == 0
    assert released.progress is not None
    assert released.progress.epoch == 3
    assert [attempt.outcome for attempt in released.attempts] == [AttemptOutcome.RELEASED]
    other = make_process()
    run_next(other)
    assert job(other, job_id).state == JobState.SUCCEEDED
    epochs = other.database.read(lambda session: stored.epochs(session, job_id))
    assert [epoch.epoch for epoch in epochs] == [0, 1, 2]


def test_worker_that_is_being_stopped_claims_nothing(make_process: MakeProcess) -> None:
    process = make_process()
    process.stop.set()
    job_id = submit(process.database)
    run_next(process)
    assert job(process, job_id).attempt == 0


def test_job_that_is_cancelled_while_it_runs_ends_cancelled(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = submit(process.database, spec=make_spec(epochs=1_000))
    canceller = make_process()

    class Cancelling(StubExecutor):
        def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
            cancel(canceller.database, job_id)
            return super().train(spec, start, monitor)

    with watched(process):
        run_next(replace(process, executor=Cancelling(process.settings)))
    cancelled = job(process, job_id)
    assert cancelled.state == JobState.CANCELLED
    assert [attempt.outcome for attempt in cancelled.attempts] == [AttemptOutcome.CANCELLED]


def test_superseded_attempt_writes_nothing(make_process: MakeProcess) -> None:
    process = make_process()
    other = make_process()

    def lose() -> None:
        claimed = AttemptId(job_id, 1)
        release(other.database, claimed)
        run_next(other)

    process = replace(process, executor=InterferingExecutor(process.settings, lose))
    job_id = submit(process.database)
    run_next(process)
    ended = job(process, job_id)
    assert ended.state == JobState.SUCCEEDED
    assert [attempt.outcome for attempt in ended.attempts] == [
        AttemptOutcome.RELEASED,
        AttemptOutcome.SUCCEEDED,
    ]


def test_resumed_job_has_the_results_of_an_uninterrupted_one(make_process: MakeProcess) -> None:
    uninterrupted = make_process()
    spec = make_spec(epochs=5, keep_weights=True)
    expected_id = submit(uninterrupted.database, spec=spec)
    run_next(uninterrupted)

    process = make_process()
    job_id = submit(process.database, spec=spec)
    run_next(replace(process, executor=StopsAfterTwoEpochs(process)))
    assert job(process, job_id).state == JobState.QUEUED
    process.stop.clear()
    run_next(process)
    assert history(process, job_id) == history(uninterrupted, expected_id)
    assert keras_file(process, job_id) == keras_file(uninterrupted, expected_id)
    assert list(weights(process, job_id)) == list(range(5))
    assert weights(process, job_id) == weights(uninterrupted, expected_id)


class StopsAfterTwoEpochs(StubExecutor):
    def __init__(self, process: PoolProcess) -> None:
        super().__init__(process.settings)
        self._process = process

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        return super().train(spec, start, _StopAfter(monitor, self._process))


class _StopAfter:
    def __init__(self, monitor: Monitor, process: PoolProcess) -> None:
        self._monitor, self._process = monitor, process
        self.phase, self.step, self.check = monitor.phase, monitor.step, monitor.check
        self.data = monitor.data

    def epoch(self, metrics: Any, state: Callable[[], bytes], weights: bytes | None = None) -> None:
        if metrics.epoch == 2:
            self._process.stop.set()
        self._monitor.epoch(metrics, state, weights)


def history(process: PoolProcess, job_id: UUID) -> list[tuple[str, bytes]]:
    epochs = process.database.read(lambda session: stored.epochs(session, job_id))
    return [(repr(epoch.values), epoch.steps) for epoch in epochs]


def weights(process: PoolProcess, job_id: UUID) -> dict[int, bytes]:
    return process.database.read(lambda session: stored.weights(session, job_id))


def keras_file(process: PoolProcess, job_id: UUID) -> bytes:
    model_id = job(process, job_id).model_id
    assert model_id is not None
    return stored.model_file(process.database, model_id, KERAS_FILE)


def test_an_evaluation_after_its_training_evaluates_the_model_that_is_trained(
    make_process: MakeProcess,
) -> None:
    process = make_process()
    trained = submit(process.database)
    spec = make_evaluate_spec(trained, evaluation_size=20)
    evaluated = submit(process.database, kind="evaluate", spec=spec, model_id=trained, after=(trained,))
    claim = claim_one(process)
    while claim is not None:
        claim = run_attempt(process, claim)
    assert [job(process, each).state for each in (trained, evaluated)] == [JobState.SUCCEEDED] * 2
    assert job(process, trained).model_id == job(process, evaluated).model_id == trained
