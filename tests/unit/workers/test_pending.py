"""Pending progress is written in order, at its own time, once, and soon if the attempt goes on."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import psycopg
import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db.clock import database_now
from shared.db.engine import Database
from shared.formats.epochs import EpochMetrics
from shared.lifecycle import JobState, Phase
from shared.store import attempts
from shared.store.progress import Progress
from tests.support import stored
from tests.support.factories import make_epoch, make_epoch_weights, make_model, make_spec
from tests.support.queue_driver import AttemptId, running, submit, succeed_attempt
from tests.support.statements import recorded_statements
from tests.support.stub_executor import StubExecutor
from tests.support.waiting import wait_until
from tests.unit.workers.conftest import MakeProcess
from workers.pending import PendingProgress
from workers.runner import claim_next, run_jobs

T = TypeVar("T")


class LostReply(Database):
    """A database that loses the reply to its next commit if `loses_reply`."""

    loses_reply = False

    def write(self, work: Callable[[Session], T]) -> T:
        result = super().write(work)
        if self.loses_reply:
            self.loses_reply = False
            raise OperationalError("", {}, psycopg.OperationalError("the connection is lost"))
        return result


@pytest.fixture
def lossy(database_url: str) -> Iterator[LostReply]:
    database = LostReply(database_url)
    yield database
    database.dispose()


def new_pending(attempt: AttemptId) -> PendingProgress:
    return PendingProgress(attempt, lease_s=30.0, interval_s=0.0)


def no_state() -> bytes:
    raise AssertionError("the state is not needed")


def broken_state() -> bytes:
    raise RuntimeError("the device has failed")


def succeed(session: Session, progress: Progress, attempt: AttemptId) -> None:
    succeed_attempt(session, attempt, make_model().produced, progress)


def write(pending: PendingProgress, database: Database) -> bool:
    return pending.write_if_due(database, read_state=True)


def report(pending: PendingProgress, database: Database, work: Callable[[Session, Progress], object]) -> None:
    with pending.closing(database) as progress:
        database.write(lambda session: work(session, progress()))


def test_progress_is_written_with_one_event_in_the_order_in_which_it_happened(database: Database) -> None:
    attempt = running(database)
    pending = new_pending(attempt)
    pending.add_phase(Phase.LOADING_DATA)
    pending.add_phase(Phase.TRAINING)
    for epoch in range(3):
        pending.add_epoch(make_epoch(epoch), str(epoch).encode)
    pending.add_phase(Phase.EVALUATING)
    assert write(pending, database)
    assert not write(pending, database), "nothing is pending"
    [event] = stored.events(database, attempt.job_id)[2:]
    assert (event.seq, event.type) == (3, "progress")
    phases, epochs = event.data["phases"], event.data["epochs"]
    assert [each["phase"] for each in phases] == ["loading_data", "training", "evaluating"]
    assert [each["epoch"] for each in epochs] == [0, 1, 2]
    times = [each["at"] for each in (*phases[:2], *epochs, phases[2])]
    assert times == sorted(times)
    job = stored.job(database, attempt.job_id)
    assert (job.version, job.phase, job.next_epoch) == (3, Phase.EVALUATING, 3)
    assert stored.checkpoint(database, attempt.job_id) == (3, b"2")


def test_the_weights_after_each_epoch_are_written_and_not_only_the_last(database: Database) -> None:
    attempt = running(database)
    pending = new_pending(attempt)
    for epoch in range(3):
        pending.add_epoch(make_epoch(epoch), lambda: b"state", make_epoch_weights(epoch))
    assert write(pending, database)
    pending.add_epoch(make_epoch(3), lambda: b"state", make_epoch_weights(3))
    report(pending, database, lambda session, progress: succeed(session, progress, attempt))
    kept = database.read(lambda session: stored.weights(session, attempt.job_id))
    assert kept == {epoch: make_epoch_weights(epoch) for epoch in range(4)}


def test_a_phase_has_the_time_when_it_began(database: Database) -> None:
    attempt = running(database)
    pending = new_pending(attempt)
    pending.add_phase(Phase.TRAINING)
    entered_at = _database_time(database)
    wait_until(lambda: _database_time(database) > entered_at + timedelta(seconds=0.05), "time passes")
    pending.add_phase(Phase.EVALUATING)
    assert write(pending, database)
    claimed, progress = stored.events(database, attempt.job_id)[1:]
    first, second = (datetime.fromisoformat(entered["at"]) for entered in progress.data["phases"])
    assert claimed.at <= first
    assert second == progress.at
    assert second - first > timedelta(seconds=0.05)


def _database_time(database: Database) -> datetime:
    return database.read(lambda session: session.execute(select(database_now())).scalar_one())


def test_state_is_read_only_if_it_is_stored(database: Database) -> None:
    attempt = running(database)
    pending = new_pending(attempt)
    pending.add_epoch(make_epoch(0), no_state)
    pending.add_epoch(make_epoch(1), lambda: b"after 1")
    assert not pending.write_if_due(database), "the scribe does not read the state"
    assert stored.job(database, attempt.job_id).next_epoch == 0
    pending.add_phase(Phase.EVALUATING)
    assert pending.write_if_due(database)
    assert stored.job(database, attempt.job_id).next_epoch == 2


def test_a_write_that_was_not_confirmed_is_repeated_unchanged(lossy: LostReply) -> None:
    attempt = running(lossy)
    pending = new_pending(attempt)
    pending.add_phase(Phase.TRAINING)
    pending.add_epoch(make_epoch(0), lambda: b"after 0")
    lossy.loses_reply = True
    with pytest.raises(OperationalError):
        write(pending, lossy)
    pending.add_epoch(make_epoch(1), lambda: b"after 1")
    report(pending, lossy, lambda session, progress: succeed(session, progress, attempt))
    assert stored.event_types(lossy, attempt.job_id)[2:] == [
        "progress",
        "progress",
        "succeeded",
    ]
    assert stored.job(lossy, attempt.job_id).next_epoch == 2


def begun(epoch: int, count: int) -> EpochMetrics:
    return make_epoch(epoch, steps={"loss": [0.5] * count})


def test_steps_are_written_once_by_the_thread_that_trains_until_their_epoch_is(database: Database) -> None:
    attempt = running(database)
    pending = new_pending(attempt)
    for count in (1, 2):
        pending.add_steps(partial(begun, 0, count))
    assert not pending.write_if_due(database), "the scribe does not read the steps"
    assert write(pending, database)
    assert not write(pending, database), "nothing is pending"
    assert stored.begun_epochs(database, attempt.job_id) == [(0, 1, begun(0, 2).steps)]
    pending.add_steps(partial(begun, 0, 3))
    pending.add_epoch(make_epoch(0), lambda: b"after 0")
    assert write(pending, database)
    assert stored.begun_epochs(database, attempt.job_id) == []
    pending.add_steps(partial(begun, 1, 1))
    assert write(pending, database)
    assert stored.begun_epochs(database, attempt.job_id) == [(1, 1, begun(1, 1).steps)]
    assert stored.event_types(database, attempt.job_id)[2:] == ["progress"]


def test_steps_are_written_after_an_epoch_whose_write_was_not_confirmed(lossy: LostReply) -> None:
    attempt = running(lossy)
    pending = new_pending(attempt)
    pending.add_epoch(make_epoch(0), lambda: b"after 0")
    pending.add_steps(partial(begun, 1, 1))
    lossy.loses_reply = True
    with pytest.raises(OperationalError):
        write(pending, lossy)
    pending.add_steps(partial(begun, 1, 2))
    assert write(pending, lossy), "the epoch alone"
    assert write(pending, lossy)
    assert stored.begun_epochs(lossy, attempt.job_id) == [(1, 1, begun(1, 2).steps)]
    assert stored.event_types(lossy, attempt.job_id)[2:] == ["progress"]


def test_many_steps_are_written_less_often_than_epochs(database: Database) -> None:
    attempt = running(database)
    pending = PendingProgress(attempt, lease_s=30.0, interval_s=0.01)
    pending.add_steps(partial(begun, 0, 2**17))  # a megabyte: sixteen intervals
    wait_until(lambda: write(pending, database), "the first steps are due")
    written_at = time.monotonic()
    pending.add_steps(partial(begun, 0, 1))
    wait_until(lambda: write(pending, database), "the next steps are due")
    assert time.monotonic() - written_at > 0.1


@pytest.mark.parametrize("confirmed", [True, False])
def test_epochs_whose_state_is_lost_are_not_stored(lossy: LostReply, confirmed: bool) -> None:
    attempt = running(lossy)
    pending = new_pending(attempt)
    pending.add_epoch(make_epoch(0), lambda: b"after 0")
    lossy.loses_reply = not confirmed
    try:
        write(pending, lossy)
    except OperationalError:
        assert not confirmed
    pending.add_epoch(make_epoch(1), broken_state)
    with pytest.raises(RuntimeError):
        write(pending, lossy) and write(pending, lossy)
    report(pending, lossy, lambda session, progress: attempts.release(session, attempt, progress))
    job = stored.job(lossy, attempt.job_id)
    assert (job.state, job.next_epoch) == (JobState.QUEUED, 1)
    assert stored.checkpoint(lossy, attempt.job_id) == (1, b"after 0")


def test_a_phase_becomes_visible_although_no_step_is_finished(make_process: MakeProcess) -> None:
    process = make_process()
    attempt = running(process.database)
    pending = new_pending(attempt)
    with process.scribe.writing(pending):
        pending.add_phase(Phase.LOADING_DATA)
        wait_until(
            lambda: stored.job(process.database, attempt.job_id).phase == Phase.LOADING_DATA,
            "the scribe writes the phase",
        )


def test_a_phase_is_written_although_the_state_after_an_epoch_in_it_was_not_read(database: Database) -> None:
    attempt = running(database)
    pending = new_pending(attempt)
    pending.add_phase(Phase.TRAINING)
    pending.add_epoch(make_epoch(0), lambda: b"state")
    assert pending.write_if_due(database), "the scribe writes the phase"
    assert not pending.write_if_due(database)
    assert write(pending, database)
    job = stored.job(database, attempt.job_id)
    assert (job.phase, job.next_epoch) == (Phase.TRAINING, 1)
    assert stored.event_types(database, attempt.job_id)[2:] == ["progress", "progress"]


def test_scribe_and_job_write_each_event_once(make_process: MakeProcess) -> None:
    process = make_process()
    attempt = running(process.database)
    pending = new_pending(attempt)
    with process.scribe.writing(pending):
        for epoch in range(50):
            # another one each time: a write of the same phase alone is taken for a repetition
            pending.add_phase((Phase.TRAINING, Phase.EVALUATING)[epoch % 2])
            pending.add_epoch(make_epoch(epoch), lambda: b"state")
            write(pending, process.database)
        report(pending, process.database, lambda session, progress: succeed(session, progress, attempt))
    job = stored.job(process.database, attempt.job_id)
    events = stored.event_types(process.database, attempt.job_id)
    assert (job.state, job.next_epoch, job.version) == (JobState.SUCCEEDED, 50, len(events))
    told = [event.data for event in stored.events(process.database, attempt.job_id)[2:-1]]
    assert [each["epoch"] for data in told for each in data["epochs"]] == list(range(50))
    assert sum(len(data["phases"]) for data in told) == 50
    assert set(events[2:-1]) == {"progress"}


def test_progress_is_not_written_before_it_is_due(database: Database) -> None:
    pending = PendingProgress(running(database), lease_s=30.0, interval_s=60.0)
    pending.add_phase(Phase.TRAINING)
    assert not write(pending, database)


def test_a_short_job_is_one_transaction_which_reports_it_and_claims_the_next(
    make_process: MakeProcess,
) -> None:
    process = make_process()
    process = replace(process, executor=StubExecutor(process.settings, step_s=0.0))
    assert claim_next(process) == []  # stores its environment, once
    job_ids = [submit(process.database, spec=make_spec(epochs=10)) for _ in range(3)]
    commits: list[object] = []
    event.listen(process.database.engine, "commit", commits.append)
    with recorded_statements(process.database) as statements:
        run_jobs(process)
    assert len(commits) == 1 + len(job_ids)
    sent = [statement.sql for statement in statements if not statement.is_boundary]
    assert len(sent) <= 14 * len(job_ids) + 3, sent
    for job_id in job_ids:
        assert stored.event_types(process.database, job_id) == [
            *("submitted", "claimed", "progress", "succeeded"),
        ]
