"""One attempt, from claim to report, with every way in which it can end."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.errors import DataCorrupt, NonFiniteLoss
from shared.lifecycle import AttemptOutcome, JobState
from shared.schemas import JobDetail, ModelFormat, TrainSpec
from shared.store import attempts, evaluations, job_edits, job_queries, models, results
from shared.store.submit import submit_job
from shared.store.transitions import AttemptId
from tests.support.factories import make_evaluate_spec, make_new_job, make_spec
from tests.support.stub_executor import Behaviour, StubExecutor
from tests.unit.workers.conftest import MakeProcess
from workers.executor import Checkpoint, Monitor, TrainedModel
from workers.pool_process import PoolProcess
from workers.runner import run_attempt

T = TypeVar("T")


def submit(process: PoolProcess, **overrides: Any) -> UUID:
    return process.database.write(lambda session: submit_job(session, make_new_job(**overrides)))[0]


def job(process: PoolProcess, job_id: UUID) -> JobDetail:
    return process.database.read(lambda session: job_queries.get(session, job_id))


class Interfering(StubExecutor):
    """Does something in the middle of the training."""

    def __init__(self, process: PoolProcess, interfere: Callable[[], None]) -> None:
        super().__init__(process.settings)
        self._interfere = interfere

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> TrainedModel:
        model = super().train(spec, start, monitor)
        self._interfere()
        monitor.check()
        return model


def test_training_job_leaves_history_model_and_evaluation(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = submit(process)
    run_attempt(process, job_id)
    done = job(process, job_id)
    assert done.state == JobState.SUCCEEDED
    assert done.progress is not None
    assert done.progress.percent == 100
    assert [attempt.outcome for attempt in done.attempts] == [AttemptOutcome.SUCCEEDED]
    epochs = process.database.read(lambda session: results.epochs(session, job_id))
    assert [epoch.epoch for epoch in epochs] == [0, 1, 2]
    assert [len(epoch.batch_loss) for epoch in epochs] == [2, 2, 2]
    model_id = done.model_id
    assert model_id is not None
    assert process.database.read(lambda session: models.get(session, model_id)).job_id == job_id
    assert process.database.read(lambda session: evaluations.get(session, job_id)).size == 50


def test_evaluation_job_measures_the_stored_model(make_process: MakeProcess) -> None:
    process = make_process()
    trained = submit(process)
    run_attempt(process, trained)
    model_id = job(process, trained).model_id
    assert model_id is not None
    spec = make_evaluate_spec(model_id, evaluation_size=20, threshold=0.5)
    evaluated = submit(process, kind="evaluate", spec=spec, model_id=model_id)
    run_attempt(process, evaluated)
    assert job(process, evaluated).state == JobState.SUCCEEDED
    evaluation = process.database.read(lambda session: evaluations.get(session, evaluated))
    assert (evaluation.size, evaluation.threshold, evaluation.model_id) == (20, 0.5, model_id)


def test_evaluation_of_a_model_that_is_gone_fails_at_once(make_process: MakeProcess) -> None:
    process = make_process()
    missing = uuid4()
    job_id = submit(process, kind="evaluate", spec=make_evaluate_spec(missing), model_id=missing)
    run_attempt(process, job_id)
    failed = job(process, job_id)
    assert failed.state == JobState.FAILED
    assert failed.error is not None
    assert failed.error.code == "model_not_found"
    assert str(missing) in failed.error.message


def test_job_that_is_not_there_is_left_alone(make_process: MakeProcess) -> None:
    run_attempt(make_process(), uuid4())


def test_second_message_for_a_job_does_nothing(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = submit(process)
    run_attempt(process, job_id)
    version = job(process, job_id).version
    run_attempt(process, job_id)
    assert job(process, job_id).version == version


def test_error_that_may_pass_is_retried_later_until_attempts_run_out(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = submit(process, spec=make_spec(seed=Behaviour.DATA_IS_AWAY), max_attempts=1)
    run_attempt(process, job_id)
    assert job(process, job_id).state == JobState.FAILED
    retried = submit(process, spec=make_spec(seed=Behaviour.DATA_IS_AWAY), max_attempts=2)
    run_attempt(process, retried)
    waiting = job(process, retried)
    assert waiting.state == JobState.QUEUED
    assert waiting.scheduled_at > waiting.created_at
    assert waiting.attempts[0].error_code == "data_unavailable"
    run_attempt(process, retried)
    assert job(process, retried).attempt == 1, "it was claimed before it was due"


@pytest.mark.parametrize("error", [DataCorrupt("no PNG"), NonFiniteLoss("nan in epoch 0")])
def test_error_that_will_not_pass_fails_the_job_at_once(
    make_process: MakeProcess, error: DataCorrupt | NonFiniteLoss
) -> None:
    def fail() -> None:
        raise error

    process = make_process()
    process = replace(process, executor=Interfering(process, fail))
    job_id = submit(process)
    run_attempt(process, job_id)
    failed = job(process, job_id)
    assert failed.state == JobState.FAILED
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == (error.code, str(error))


def test_surprise_is_recorded_and_retried(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = submit(process, spec=make_spec(seed=Behaviour.RAISES))
    run_attempt(process, job_id)
    waiting = job(process, job_id)
    assert waiting.state == JobState.QUEUED
    assert waiting.attempts[0].error_message == "RuntimeError: a surprise"


def test_stopped_worker_gives_the_job_back_and_the_next_attempt_goes_on(make_process: MakeProcess) -> None:
    stopping = make_process()
    stopping = replace(stopping, executor=Interfering(stopping, stopping.stop.set))
    job_id = submit(stopping)
    run_attempt(stopping, job_id)
    released = job(stopping, job_id)
    assert released.state == JobState.QUEUED
    assert released.crashes == 0
    assert released.progress is not None
    assert released.progress.epoch == 3
    assert [attempt.outcome for attempt in released.attempts] == [AttemptOutcome.RELEASED]
    other = make_process()
    run_attempt(other, job_id)
    assert job(other, job_id).state == JobState.SUCCEEDED
    epochs = other.database.read(lambda session: results.epochs(session, job_id))
    assert [epoch.epoch for epoch in epochs] == [0, 1, 2]


def test_worker_that_is_being_stopped_claims_nothing(make_process: MakeProcess) -> None:
    process = make_process()
    process.stop.set()
    job_id = submit(process)
    run_attempt(process, job_id)
    assert job(process, job_id).attempt == 0


def test_cancelled_job_ends_cancelled(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = submit(process, spec=make_spec(epochs=1_000))
    canceller = make_process()

    class Cancelling(StubExecutor):
        def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> TrainedModel:
            canceller.database.write(lambda session: job_edits.request_cancel(session, job_id))
            return super().train(spec, start, monitor)

    run_attempt(replace(process, executor=Cancelling(process.settings)), job_id)
    cancelled = job(process, job_id)
    assert cancelled.state == JobState.CANCELLED
    assert [attempt.outcome for attempt in cancelled.attempts] == [AttemptOutcome.CANCELLED]


def test_attempt_that_lost_its_job_writes_nothing_more(make_process: MakeProcess) -> None:
    process = make_process()
    other = make_process()

    def lose() -> None:
        claimed = AttemptId(job_id, 1)
        other.database.write(lambda session: attempts.release(session, claimed))
        run_attempt(other, job_id)

    process = replace(process, executor=Interfering(process, lose))
    job_id = submit(process)
    run_attempt(process, job_id)
    done = job(process, job_id)
    assert done.state == JobState.SUCCEEDED
    assert [attempt.outcome for attempt in done.attempts] == [
        AttemptOutcome.RELEASED,
        AttemptOutcome.SUCCEEDED,
    ]


class Outage(Database):
    """A database that cannot be reached for the next `writes` writes."""

    writes = 0.0

    def write(self, work: Callable[[Session], T]) -> T:
        if self.writes:
            self.writes -= 1
            raise OperationalError("", {}, psycopg.OperationalError("the server is gone"))
        return super().write(work)


@pytest.fixture
def outage(database_url: str) -> Iterator[Outage]:
    database = Outage(database_url)
    yield database
    database.dispose()


def test_result_outlives_an_outage_of_the_database(make_process: MakeProcess, outage: Outage) -> None:
    def begin() -> None:
        outage.writes = 3

    process = replace(make_process(), database=outage)
    process = replace(process, executor=Interfering(process, begin))
    job_id = submit(process)
    run_attempt(process, job_id)
    assert outage.writes == 0
    assert job(process, job_id).state == JobState.SUCCEEDED


def test_outage_in_the_middle_gives_the_job_back_and_counts_no_crash(
    make_process: MakeProcess, outage: Outage
) -> None:
    class Recording(StubExecutor):
        def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> TrainedModel:
            outage.writes = 3
            return super().train(spec, start, monitor)

    process = replace(make_process(), database=outage)
    job_id = submit(process)
    run_attempt(replace(process, executor=Recording(process.settings)), job_id)
    released = job(process, job_id)
    assert (released.state, released.crashes) == (JobState.QUEUED, 0)
    assert [attempt.outcome for attempt in released.attempts] == [AttemptOutcome.RELEASED]


def test_worker_that_is_stopped_in_an_outage_does_not_wait_for_its_end(
    make_process: MakeProcess, outage: Outage
) -> None:
    process = replace(make_process(), database=outage)

    def begin() -> None:
        outage.writes = float("inf")
        process.stop.set()

    job_id = submit(process)
    run_attempt(replace(process, executor=Interfering(process, begin)), job_id)
    assert job(process, job_id).state == JobState.RUNNING, "its lease will expire"


def test_resumed_job_equals_an_uninterrupted_one(make_process: MakeProcess) -> None:
    golden = make_process()
    first = submit(golden, spec=make_spec(epochs=5))
    run_attempt(golden, first)

    process = make_process()
    job_id = submit(process, spec=make_spec(epochs=5))
    run_attempt(replace(process, executor=StopsAfterTwoEpochs(process)), job_id)
    assert job(process, job_id).state == JobState.QUEUED
    process.stop.clear()
    run_attempt(process, job_id)
    assert history(process, job_id) == history(golden, first)
    assert keras_file(process, job_id) == keras_file(golden, first)


class StopsAfterTwoEpochs(StubExecutor):
    def __init__(self, process: PoolProcess) -> None:
        super().__init__(process.settings)
        self._process = process

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> TrainedModel:
        return super().train(spec, start, _StopAfter(monitor, self._process))


class _StopAfter:
    def __init__(self, monitor: Monitor, process: PoolProcess) -> None:
        self._monitor, self._process = monitor, process
        self.phase, self.check = monitor.phase, monitor.check

    def epoch(self, metrics: Any, state: Callable[[], bytes]) -> None:
        if metrics.epoch == 2:
            self._process.stop.set()
        self._monitor.epoch(metrics, state)


def history(process: PoolProcess, job_id: UUID) -> list[tuple[str, ...]]:
    epochs = process.database.read(lambda session: results.epochs(session, job_id))
    return [(epoch.loss.hex(), epoch.val_accuracy.hex(), str(epoch.batch_loss)) for epoch in epochs]


def keras_file(process: PoolProcess, job_id: UUID) -> bytes:
    model_id = job(process, job_id).model_id
    assert model_id is not None
    file = process.database.read(lambda session: models.file(session, model_id, ModelFormat.KERAS))
    return file.content
