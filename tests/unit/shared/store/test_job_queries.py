"""Details of a job, as the API returns them."""

from functools import partial
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from shared import schemas
from shared.db.engine import Database
from shared.errors import JobNotFound
from shared.lifecycle import JobState
from shared.schemas import EvaluateSpec, Progress, Scope, WaitingFor
from shared.store import api_keys, attempts, job_queries
from shared.store.api_keys import NewApiKey
from shared.store.submissions import Submitter
from shared.store.submit import submit_job
from tests.support import stored
from tests.support.factories import (
    make_epoch,
    make_evaluate_spec,
    make_new_job,
    make_progress,
    make_spec,
)
from tests.support.queue_driver import (
    cancelled,
    claim,
    expire,
    failed,
    record,
    record_progress,
    running,
    submit,
    succeeded,
)


def _detail(database: Database, job_id: UUID) -> schemas.JobDetail:
    return database.read(lambda session: job_queries.get(session, job_id))


def test_a_mark_of_a_job_is_its_version_and_the_end_of_its_lease(database: Database) -> None:
    queued, started, unknown = submit(database), running(database).job_id, uuid7()
    lease_ends_at = stored.job(database, started).lease_expires_at
    assert lease_ends_at is not None
    assert database.read(partial(job_queries.marks, job_ids=[queued, started, unknown])) == {
        queued: (1, None),
        started: (2, lease_ends_at),
        unknown: (None, None),
    }
    assert database.read(partial(job_queries.get_marked, job_id=started))[1] == (2, lease_ends_at)


def test_several_jobs_are_returned_by_id_without_unknown_ones(database: Database) -> None:
    first, second = submit(database, name="first"), succeeded(database)[0]
    found = database.read(lambda session: job_queries.summaries(session, [first, second, uuid7()]))

    assert set(found) == {first, second}
    assert (found[first].name, found[second].state) == ("first", JobState.SUCCEEDED)


def test_only_a_finished_job_has_a_final_version(database: Database) -> None:
    versions = [
        database.read(partial(job_queries.final_version, job_id=job_id))
        for job_id in (submit(database), running(database).job_id, failed(database), uuid7())
    ]
    assert versions == [None, None, 3, None]


def test_a_queued_job_has_its_requested_options_and_no_results(database: Database) -> None:
    job_id = submit(database, name="first", tags=("a", "b"))
    job = _detail(database, job_id)
    assert (job.state, job.attempt, job.version, job.attempts) == (JobState.QUEUED, 0, 1, ())
    assert (job.name, job.tags, job.spec) == ("first", ("a", "b"), make_spec())
    assert job.progress == Progress(epoch=0, epochs=3, step=0, steps=6, percent=0, eta_s=None)
    assert (job.values, job.error, job.model_id, job.finished_at) == ({}, None, None, None)


def test_a_running_job_has_its_progress_and_last_metrics(database: Database) -> None:
    attempt, last = running(database), make_epoch(1)
    record(database, attempt, 2)
    job = _detail(database, attempt.job_id)
    assert job.progress == Progress(epoch=2, epochs=3, step=4, steps=6, percent=200 / 3, eta_s=0.25)
    assert job.values == last.values
    assert [(row.number, row.worker, row.outcome) for row in job.attempts] == [(1, "worker-1", None)]


def test_a_succeeded_job_has_its_model_and_accuracy(database: Database) -> None:
    job_id, model = succeeded(database)
    job = _detail(database, job_id)
    assert (job.state, job.model_id, job.values["evaluation_accuracy"]) == ("succeeded", model.id, 49 / 50)
    assert job.progress is not None
    assert job.progress.percent == 100
    assert job.finished_at is not None


def test_a_failed_job_has_its_error(database: Database) -> None:
    job = _detail(database, failed(database))
    assert job.error == schemas.JobError(code="internal", message="it broke")
    assert [(row.outcome, row.error_code) for row in job.attempts] == [("failed", "internal")]


def test_a_job_tells_the_key_that_submitted_it(database: Database) -> None:
    key, new = NewApiKey.draw(), make_new_job()
    database.write(partial(api_keys.create, key=key, name="Ada", scope=Scope.SUBMIT))
    database.write(lambda session: submit_job(session, new, submitter=Submitter(api_key_id=key.id)))
    job = _detail(database, new.id)
    assert (job.api_key_id, job.submitted_by) == (key.id, "Ada")
    without = _detail(database, submit(database))
    assert (without.api_key_id, without.submitted_by) == (None, None)
    summary = database.read(lambda session: job_queries.summary(session, new.id))
    assert summary.api_key_id == key.id


def test_attempts_are_ordered_by_number(database: Database) -> None:
    job_id = submit(database)
    for owner in "123":
        attempt = claim(database, job_id, owner=owner).attempt
        database.write(partial(attempts.release, attempt=attempt))
    assert [row.number for row in _detail(database, job_id).attempts] == [1, 2, 3]


def test_an_evaluation_job_has_no_progress(database: Database) -> None:
    _, model = succeeded(database)
    job = _detail(
        database, submit(database, kind="evaluate", spec=make_evaluate_spec(model.id), model_id=model.id)
    )
    assert isinstance(job.spec, EvaluateSpec)
    assert (job.spec.model_id, job.progress) == (model.id, None)


def test_an_unknown_job_is_not_found(database: Database) -> None:
    job_id = uuid7()
    with pytest.raises(JobNotFound, match=str(job_id)):
        _detail(database, job_id)


def test_progress_goes_on_within_an_epoch(database: Database) -> None:
    attempt = running(database, spec=make_spec(epochs=2, train_size=200))  # 4 steps each
    begun = make_epoch(0, seconds=1.5, steps={"loss": [0.5] * 3})
    record_progress(database, attempt, make_progress(running=begun))
    progress = Progress(epoch=0, epochs=2, step=3, steps=8, percent=37.5, eta_s=2.5)
    assert _detail(database, attempt.job_id).progress == progress
    begun = make_epoch(1, seconds=0.1, steps={"loss": [0.5]})
    complete = make_epoch(0, seconds=2.0)
    record_progress(database, attempt, make_progress(complete, running=begun))
    progress = Progress(epoch=1, epochs=2, step=5, steps=8, percent=62.5, eta_s=1.5)
    assert _detail(database, attempt.job_id).progress == progress
    expire(database, attempt)
    assert _detail(database, attempt.job_id).progress == Progress(
        epoch=1, epochs=2, step=4, steps=8, percent=50, eta_s=None
    )


def _eta_s(database: Database, job_id: UUID) -> float | None:
    progress = _detail(database, job_id).progress
    assert progress is not None
    return progress.eta_s


def test_the_eta_uses_the_average_duration_of_the_last_five_epochs(database: Database) -> None:
    attempt = running(database, spec=make_spec(epochs=9))
    assert _eta_s(database, attempt.job_id) is None
    for epoch, seconds in enumerate((60.0, 1.0, 2.0, 3.0, 4.0, 5.0)):
        record_progress(database, attempt, make_progress(make_epoch(epoch, seconds=seconds)))
    assert _eta_s(database, attempt.job_id) == 3 * 3.0


def test_a_job_that_is_not_running_has_no_eta(database: Database) -> None:
    done, _ = succeeded(database)
    attempt = running(database)
    record(database, attempt, 2)
    database.write(partial(attempts.release, attempt=attempt))
    assert (_eta_s(database, attempt.job_id), _eta_s(database, done)) == (None, None)


def test_only_a_queued_job_has_a_queue_position_and_a_reason_to_wait(database: Database) -> None:
    queued, running_id = _detail(database, submit(database)), running(database).job_id
    assert (queued.queue_position, queued.waiting_for) == (1, WaitingFor.NO_WORKER_ONLINE)
    now_running = _detail(database, running_id)
    assert (now_running.queue_position, now_running.waiting_for) == (None, None)


def test_a_finished_job_has_its_duration(database: Database) -> None:
    job = _detail(database, succeeded(database)[0])
    [attempt] = job.attempts
    assert job.finished_at is not None
    assert job.duration_s == pytest.approx((job.finished_at - attempt.started_at).total_seconds(), abs=0.002)
    assert _detail(database, cancelled(database)).duration_s is None
