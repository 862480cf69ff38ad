"""An outcome is reported, also after an outage of the database and if the result cannot be stored."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.errors import DataCorrupt, NonFiniteLoss
from shared.formats.results import Produced
from shared.lifecycle import AttemptOutcome, JobState, Phase
from shared.schemas import LayerSummary, TrainSpec
from shared.settings import Settings
from shared.texts import storable
from tests.support import stored
from tests.support.factories import make_epoch, make_evaluation, make_spec
from tests.support.hostile_texts import TEXTS
from tests.support.injected_errors import OUTAGES, injected
from tests.support.queue_driver import AttemptId, release, submit
from tests.support.stub_executor import InterferingExecutor, StubExecutor
from tests.unit.workers.conftest import MakeProcess, claim_one, run_attempt, run_next
from workers.executor import Checkpoint, Monitor

T = TypeVar("T")


class Outage(Database):
    """A database whose next `failing_writes` writes fail; `lost_replies` more only lose their reply."""

    failing_writes = 0.0
    lost_replies = 0

    def write(self, work: Callable[[Session], T]) -> T:
        if self.failing_writes:
            self.failing_writes -= 1
            raise OperationalError("", {}, psycopg.OperationalError("the server is gone"))
        result = super().write(work)
        if self.lost_replies:
            self.lost_replies -= 1
            raise OperationalError("", {}, psycopg.OperationalError("the reply is lost"))
        return result


@pytest.fixture
def outage(database_url: str) -> Iterator[Outage]:
    database = Outage(database_url)
    yield database
    database.dispose()


def test_result_is_reported_after_an_outage_of_the_database(
    make_process: MakeProcess, outage: Outage
) -> None:
    def begin() -> None:
        outage.failing_writes = 3

    process = replace(make_process(), database=outage)
    job_id = submit(outage)
    run_next(replace(process, executor=InterferingExecutor(process.settings, begin)))
    assert outage.failing_writes == 0
    assert stored.job(outage, job_id).state == JobState.SUCCEEDED


def test_outage_during_training_releases_the_job_and_counts_no_lost_attempt(
    make_process: MakeProcess, outage: Outage
) -> None:
    class FailingWrites(StubExecutor):
        def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
            outage.failing_writes = 3
            return super().train(spec, start, monitor)

    process = replace(make_process(), database=outage)
    job_id = submit(outage, spec=make_spec(epochs=100))
    claim = claim_one(process)
    assert claim is not None
    # the database is back: the process goes on with the job that it has released
    again = run_attempt(replace(process, executor=FailingWrites(process.settings)), claim)
    assert again is not None
    assert again.attempt == AttemptId(job_id, 2)
    released = stored.job(outage, job_id)
    assert (released.state, released.lost_attempts) == (JobState.RUNNING, 0)
    recorded = outage.read(lambda session: stored.epochs(session, job_id))
    assert 0 < len(recorded) == released.next_epoch < 100
    assert stored.attempt(outage, job_id, 1).outcome == AttemptOutcome.RELEASED


def test_a_repeated_report_finds_the_claim_that_was_made_with_it(
    make_process: MakeProcess, outage: Outage
) -> None:
    process = replace(make_process(), database=outage)
    job_ids = [submit(outage) for _ in range(2)]
    claim = claim_one(process)
    assert claim is not None

    def lose_the_reply() -> None:
        outage.lost_replies = 1

    executor = InterferingExecutor(process.settings, lose_the_reply)
    next_claim = run_attempt(replace(process, executor=executor), claim)
    assert outage.lost_replies == 0
    assert next_claim is not None
    assert next_claim.attempt == AttemptId(job_ids[1], 1)
    assert stored.event_types(outage, job_ids[1]) == ["submitted", "claimed"]
    assert stored.job(outage, job_ids[0]).state == JobState.SUCCEEDED


def test_a_claim_that_is_refused_does_not_keep_the_job_before_it_from_its_report(
    make_process: MakeProcess,
) -> None:
    class Spoiling(StubExecutor):
        def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
            vars(process.info)["environment"] = None
            return super().train(spec, start, monitor)

    process = make_process()
    done, waiting = (submit(process.database) for _ in range(2))
    claim = claim_one(process)
    assert claim is not None
    with pytest.raises(IntegrityError, match="environment"):
        run_attempt(replace(process, executor=Spoiling(process.settings)), claim)
    assert stored.job(process.database, done).state == JobState.SUCCEEDED
    assert stored.job(process.database, waiting).state == JobState.QUEUED


def test_a_report_that_is_refused_does_not_keep_the_next_job_from_being_claimed(
    make_process: MakeProcess,
) -> None:
    process = make_process()
    job_ids = [submit(process.database) for _ in range(3)]
    unstorable = Unstorable(process.settings, {"layers": UnreadableLayers()})
    claim = claim_one(process)
    assert claim is not None
    second = run_attempt(replace(process, executor=unstorable), claim)
    assert stored.job(process.database, job_ids[0]).state == JobState.FAILED
    assert second is not None
    assert second.attempt == AttemptId(job_ids[1], 1)

    def lose() -> None:
        release(process.database, second.attempt)

    third = run_attempt(replace(process, executor=InterferingExecutor(process.settings, lose)), second)
    # the attempt was superseded; the job that it lost is the next one
    assert third is not None
    assert third.attempt == AttemptId(job_ids[1], 2)


def test_worker_that_is_stopped_during_an_outage_does_not_wait_for_its_end(
    make_process: MakeProcess, outage: Outage
) -> None:
    process = replace(make_process(), database=outage)

    def begin() -> None:
        outage.failing_writes = float("inf")
        process.stop.set()

    job_id = submit(outage)
    run_next(replace(process, executor=InterferingExecutor(process.settings, begin)))
    assert stored.job(outage, job_id).state == JobState.RUNNING, "its lease will expire"


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_error_of_an_outage_costs_an_attempt(make_process: MakeProcess) -> None:
    process = make_process()
    for sqlstate in OUTAGES:
        job_id = submit(process.database)
        with injected(sqlstate, "UPDATE jobs", times=2) as claim:
            assert run_next(process)
        assert claim.count == 2
        job = stored.job(process.database, job_id)
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1), sqlstate
        reported = submit(process.database)

        def begin(sqlstate: str = sqlstate) -> None:
            injections.enter_context(injected(sqlstate, "UPDATE jobs", times=3))

        with ExitStack() as injections:
            run_next(replace(process, executor=InterferingExecutor(process.settings, begin)))
        job = stored.job(process.database, reported)
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1), sqlstate


class UnreadableLayers(tuple[LayerSummary, ...]):
    def __iter__(self) -> Iterator[LayerSummary]:
        raise ValueError("the summary cannot be read")


@dataclass
class Unstorable(StubExecutor):
    """Trains a model that cannot be stored, with these fields."""

    settings: Settings
    fields: dict[str, Any]

    def __post_init__(self) -> None:
        super().__init__(self.settings)

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        return replace(super().train(spec, start, monitor), **self.fields)


@dataclass
class Raising(StubExecutor):
    """Raises an error instead of training."""

    settings: Settings
    error: Exception

    def __post_init__(self) -> None:
        super().__init__(self.settings)

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        monitor.phase(Phase.TRAINING)
        raise self.error


def test_result_that_cannot_be_stored_fails_the_job_at_once(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = submit(process.database)
    run_next(replace(process, executor=Unstorable(process.settings, {"layers": UnreadableLayers()})))
    failed = stored.job(process.database, job_id)
    assert (failed.state, failed.error_code, failed.lost_attempts) == (JobState.FAILED, "internal", 0)
    reason = "the result could not be stored: ValueError: the summary cannot be read"
    assert failed.error_message == reason
    assert stored.attempt(process.database, job_id, 1).error_message == reason


def test_result_that_the_database_refuses_fails_the_job_with_the_reason(make_process: MakeProcess) -> None:
    process = make_process()
    job_id = submit(process.database)
    result = replace(make_evaluation(), type=None)  # type: ignore[arg-type]
    run_next(replace(process, executor=Unstorable(process.settings, {"result": result})))
    failed = stored.job(process.database, job_id)
    assert (failed.state, failed.error_code, failed.lost_attempts) == (JobState.FAILED, "internal", 0)
    assert failed.error_message is not None
    assert re.match("the result could not be stored: IntegrityError: .*(null|NULL)", failed.error_message)
    assert "INSERT" not in failed.error_message


def test_failure_is_reported_without_the_progress_that_the_database_refuses(
    make_process: MakeProcess,
) -> None:
    class Diverging(Raising):
        def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
            refused = replace(make_epoch(0), seconds=None)  # type: ignore[arg-type]
            monitor.epoch(refused, lambda: b"state")
            return super().train(spec, start, monitor)

    process = make_process()
    job_id = submit(process.database)
    run_next(replace(process, executor=Diverging(process.settings, NonFiniteLoss("nan in epoch 0"))))
    failed = stored.job(process.database, job_id)
    assert (failed.state, failed.error_code, failed.next_epoch) == (JobState.FAILED, "non_finite_loss", 0)


def test_error_without_a_readable_message_is_reported(make_process: MakeProcess) -> None:
    class Unreadable(Exception):
        def __str__(self) -> str:
            raise LookupError

    process = make_process()
    job_id = submit(process.database, max_attempts=1)
    run_next(replace(process, executor=Raising(process.settings, Unreadable())))
    failed = stored.job(process.database, job_id)
    assert (failed.error_code, failed.error_message) == (
        "internal",
        "Unreadable: its message cannot be read",
    )


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
def test_failure_with_any_text_is_reported_and_can_be_read(make_process: MakeProcess, text: str) -> None:
    process = make_process()
    job_id = submit(process.database, max_attempts=1)
    run_next(replace(process, executor=Raising(process.settings, DataCorrupt(text))))
    failed = stored.detail(process.database, job_id)
    assert (failed.state, failed.lost_attempts) == (JobState.FAILED, 0)
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("data_corrupt", storable(text))
    assert failed.model_dump_json()
    [*_, event] = stored.events(process.database, job_id)
    assert event.data == {"code": "data_corrupt", "message": storable(text)}
