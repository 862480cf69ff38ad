"""Jobs, as the API shows them."""

from uuid import UUID

import pytest
from sqlalchemy import update
from uuid_utils.compat import uuid7

from shared import jobs, queries, schemas
from shared.db import Database
from shared.errors import JobNotFound
from shared.lifecycle import JobState
from shared.schemas import EvaluateSpec, LastMetrics, Progress
from shared.tables import Job
from shared.transitions import AttemptFailure
from tests.factories import (
    claimed,
    failed,
    make_epoch,
    make_evaluate_spec,
    make_spec,
    record,
    running,
    submitted,
    succeeded,
)
from tests.fakes import FrozenClock


def _shown(database: Database, job_id: UUID) -> schemas.JobDetail:
    return database.read(lambda session: queries.job(session, job_id))


def _listed(
    database: Database, *, limit: int = 100, before: UUID | None = None, state: JobState | None = None
) -> list[UUID]:
    found = database.read(lambda session: queries.jobs(session, limit=limit, before=before, state=state))
    return [job.id for job in found]


def test_a_queued_job_shows_what_was_asked(database: Database) -> None:
    job_id = submitted(database, name="first", tags=("a", "b"))
    job = _shown(database, job_id)
    assert (job.state, job.attempt, job.version, job.attempts) == (JobState.QUEUED, 0, 1, ())
    assert (job.name, job.tags, job.spec) == ("first", ("a", "b"), make_spec())
    assert job.progress == Progress(epoch=0, epochs=3, step=0, steps=6, percent=0)
    assert (job.metrics, job.error, job.model_id, job.finished_at) == (None, None, None, None)


def test_a_running_job_shows_how_far_it_has_come(database: Database) -> None:
    attempt, last = running(database), make_epoch(1)
    record(database, attempt, 2)
    job = _shown(database, attempt.job_id)
    assert job.progress == Progress(epoch=2, epochs=3, step=4, steps=6, percent=200 / 3)
    assert job.metrics == LastMetrics.model_validate(last, from_attributes=True)
    assert [(row.number, row.worker, row.outcome) for row in job.attempts] == [(1, "worker-1", None)]


def test_a_job_that_has_succeeded_shows_its_model(database: Database) -> None:
    job_id, model = succeeded(database)
    job = _shown(database, job_id)
    assert (job.state, job.model_id, job.evaluation_accuracy) == ("succeeded", model.id, 49 / 50)
    assert job.progress is not None
    assert job.progress.percent == 100
    assert job.finished_at is not None


def test_a_failed_job_shows_why(database: Database) -> None:
    job = _shown(database, failed(database))
    assert job.error == schemas.JobError(code="internal", message="it broke")
    assert [(row.outcome, row.error_code) for row in job.attempts] == [("failed", "internal")]


def test_attempts_are_shown_in_order(database: Database) -> None:
    job_id = submitted(database, max_attempts=9)
    for owner in "123":
        attempt = claimed(database, job_id, owner=owner).attempt
        database.write(
            lambda session, a=attempt: jobs.fail(session, a, AttemptFailure("internal", ""), retry_in_s=0)  # type: ignore[misc]
        )
    assert [row.number for row in _shown(database, job_id).attempts] == [1, 2, 3]


def test_an_evaluation_job_counts_no_epochs(database: Database) -> None:
    _, model = succeeded(database)
    job = _shown(
        database, submitted(database, kind="evaluate", spec=make_evaluate_spec(model.id), model_id=model.id)
    )
    assert isinstance(job.spec, EvaluateSpec)
    assert (job.spec.model_id, job.progress) == (model.id, None)


def test_an_unknown_job_is_not_found(database: Database) -> None:
    job_id = uuid7()
    with pytest.raises(JobNotFound, match=str(job_id)):
        _shown(database, job_id)


def test_jobs_are_listed_page_by_page_the_newest_first(database: Database) -> None:
    newest_first = [submitted(database) for _ in range(5)][::-1]
    assert _listed(database) == newest_first
    assert _listed(database, limit=2) == newest_first[:2]
    assert _listed(database, limit=2, before=newest_first[1]) == newest_first[2:4]
    assert _listed(database, limit=2, before=newest_first[4]) == []


def test_jobs_of_one_moment_are_neither_skipped_nor_repeated(database: Database) -> None:
    ids = sorted((submitted(database) for _ in range(4)), reverse=True)
    moment = FrozenClock().moment
    database.write(lambda session: session.execute(update(Job).values(created_at=moment)))
    pages = [_listed(database, limit=1, before=before) for before in (None, *ids)]
    assert pages == [*([job_id] for job_id in ids), []]


def test_a_page_goes_on_where_it_was_though_new_jobs_came(database: Database) -> None:
    first, second = submitted(database), submitted(database)
    submitted(database)
    assert _listed(database, before=second) == [first]


def test_jobs_are_listed_by_state(database: Database) -> None:
    queued, ended = submitted(database), failed(database)
    assert _listed(database, state=JobState.QUEUED) == [queued]
    assert _listed(database, state=JobState.FAILED) == [ended]
    assert _listed(database, state=JobState.RUNNING) == []


def test_after_an_unknown_job_there_is_nothing(database: Database) -> None:
    submitted(database)
    assert _listed(database, before=uuid7()) == []
