"""An outcome is reported, also after an outage of the database and if the result cannot be stored."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import psycopg
import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.lifecycle import AttemptOutcome, JobState
from shared.schemas import LayerSummary, TrainSpec
from tests.support import stored
from tests.support.factories import make_spec, submitted
from tests.support.stub_executor import InterferingExecutor, StubExecutor
from tests.unit.workers.conftest import MakeProcess
from workers.executor import Checkpoint, Monitor, TrainedModel
from workers.runner import run_attempt

T = TypeVar("T")


class Outage(Database):
    """A database whose next `failing_writes` writes fail."""

    failing_writes = 0.0

    def write(self, work: Callable[[Session], T]) -> T:
        if self.failing_writes:
            self.failing_writes -= 1
            raise OperationalError("", {}, psycopg.OperationalError("the server is gone"))
        return super().write(work)


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
    job_id = submitted(outage)
    run_attempt(replace(process, executor=InterferingExecutor(process.settings, begin)))
    assert outage.failing_writes == 0
    assert stored.job(outage, job_id).state == JobState.SUCCEEDED


def test_outage_during_training_releases_the_job_and_counts_no_crash(
    make_process: MakeProcess, outage: Outage
) -> None:
    class FailingWrites(StubExecutor):
        def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> TrainedModel:
            outage.failing_writes = 3
            return super().train(spec, start, monitor)

    process = replace(make_process(), database=outage)
    job_id = submitted(outage, spec=make_spec(epochs=100))
    run_attempt(replace(process, executor=FailingWrites(process.settings)))
    released = stored.job(outage, job_id)
    assert (released.state, released.crashes) == (JobState.QUEUED, 0)
    recorded = outage.read(lambda session: stored.epochs(session, job_id))
    assert 0 < len(recorded) == released.next_epoch < 100
    assert stored.attempt(outage, job_id, 1).outcome == AttemptOutcome.RELEASED


def test_worker_that_is_stopped_during_an_outage_does_not_wait_for_its_end(
    make_process: MakeProcess, outage: Outage
) -> None:
    process = replace(make_process(), database=outage)

    def begin() -> None:
        outage.failing_writes = float("inf")
        process.stop.set()

    job_id = submitted(outage)
    run_attempt(replace(process, executor=InterferingExecutor(process.settings, begin)))
    assert stored.job(outage, job_id).state == JobState.RUNNING, "its lease will expire"


def test_result_that_cannot_be_stored_fails_the_attempt_at_once(make_process: MakeProcess) -> None:
    class UnreadableLayers(tuple[LayerSummary, ...]):
        def __iter__(self) -> Iterator[LayerSummary]:
            raise ValueError("the summary cannot be read")

    class Unstorable(StubExecutor):
        def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> TrainedModel:
            return replace(super().train(spec, start, monitor), layers=UnreadableLayers())

    process = make_process()
    job_id = submitted(process.database)
    run_attempt(replace(process, executor=Unstorable(process.settings)))
    assert stored.job(process.database, job_id).state == JobState.QUEUED
    error = stored.attempt(process.database, job_id, 1).error_message
    assert error == "ValueError: the summary cannot be read"
