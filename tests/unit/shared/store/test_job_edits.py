"""Edits of a job's name and tags, and the deletion of jobs."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.db.tables import Base, Job, JobEvent, JobTag, ModelAlias
from shared.errors import JobNotFound, JobNotTerminal, ModelInUse, VersionMismatch
from shared.lifecycle import EventType
from shared.schemas import EvaluateSpec
from shared.store import job_edits
from shared.store.rights import LOCAL
from tests.support import factories, queue_driver


def _edit(database: Database, job_id: UUID, versions: set[int] | None = None, **changes: Any) -> None:
    database.write(lambda session: job_edits.edit(session, job_id, changes, versions=versions))


def _stored(database: Database, job_id: UUID) -> tuple[str | None, list[str], int]:
    job = database.read(lambda session: session.get_one(Job, job_id))
    return job.name, job.tags, job.version


def _ids_with_tag(database: Database, tag: str) -> list[UUID]:
    return list(
        database.read(lambda session: session.scalars(select(JobTag.job_id).where(JobTag.tag == tag)).all())
    )


def test_an_edit_writes_one_event(database: Database) -> None:
    job_id = queue_driver.submit(database, name="old", tags=("a",))
    _edit(database, job_id, name="new", tags=["b", "c"])
    assert _stored(database, job_id) == ("new", ["b", "c"], 2)
    event = database.read(lambda session: session.get_one(JobEvent, (job_id, 2)))
    assert (event.type, event.data) == (EventType.EDITED, {"name": "new", "tags": ["b", "c"], **LOCAL.by})


def test_omitted_fields_of_an_edit_stay_unchanged(database: Database) -> None:
    job_id = queue_driver.submit(database, name="old", tags=("a",))
    _edit(database, job_id, tags=[])
    assert _stored(database, job_id) == ("old", [], 2)
    _edit(database, job_id, name=None)
    assert _stored(database, job_id) == (None, [], 3)


def test_an_edit_that_changes_nothing_writes_no_event(database: Database) -> None:
    job_id = queue_driver.submit(database, name="same")
    for _ in range(2):
        _edit(database, job_id, name="other")
    _edit(database, job_id)
    assert _stored(database, job_id) == ("other", [], 2)


def test_a_finished_job_can_be_edited_and_stays_finished(database: Database) -> None:
    job_id, _ = queue_driver.succeeded(database)
    before = database.read(lambda session: session.get_one(Job, job_id))
    _edit(database, job_id, name="kept")
    after = database.read(lambda session: session.get_one(Job, job_id))
    assert (after.state, after.finished_at, after.version) == (
        "succeeded",
        before.finished_at,
        before.version + 1,
    )


def test_a_running_job_can_be_edited_and_continues(database: Database) -> None:
    attempt = queue_driver.running(database)
    _edit(database, attempt.job_id, name="runs")
    queue_driver.record(database, attempt, 3)
    queue_driver.succeed(database, attempt, factories.make_model())


def test_an_edit_of_tags_updates_the_index_of_tags(database: Database) -> None:
    job_id = queue_driver.submit(database, tags=("a", "b"))
    _edit(database, job_id, tags=["b", "c"])
    assert [_ids_with_tag(database, tag) for tag in "abc"] == [[], [job_id], [job_id]]


def test_an_edit_of_another_version_is_refused(database: Database) -> None:
    job_id = queue_driver.submit(database)
    _edit(database, job_id, {1}, name="first")
    with pytest.raises(VersionMismatch, match="version 2"):
        _edit(database, job_id, {1}, name="second")
    assert _stored(database, job_id) == ("first", [], 2)


def test_a_repeated_edit_is_not_refused_for_its_version(database: Database) -> None:
    # as after a lost response
    job_id = queue_driver.submit(database)
    for _ in range(2):
        _edit(database, job_id, {1}, name="first")
    assert _stored(database, job_id) == ("first", [], 2)


def test_an_unknown_job_cannot_be_edited(database: Database) -> None:
    with pytest.raises(JobNotFound):
        _edit(database, uuid7(), name="x")


def _delete(database: Database, job_id: UUID) -> None:
    database.write(lambda session: job_edits.delete_job(session, job_id))


def _rows(database: Database) -> dict[str, int]:
    return database.read(
        lambda session: {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
            if table.name not in ("tenants", "version_floor")  # of no job
        }
    )


def _evaluated(database: Database, model_id: UUID) -> UUID:
    """A job that has evaluated the model."""
    spec: EvaluateSpec = factories.make_evaluate_spec(model_id)
    attempt = queue_driver.running(database, kind="evaluate", spec=spec, model_id=model_id)
    queue_driver.succeed_evaluation(database, attempt, model_id, factories.make_evaluation())
    return attempt.job_id


def test_deleting_a_job_deletes_all_its_rows(database: Database) -> None:
    before = _rows(database)
    job_id, _ = queue_driver.succeeded(database, tags=("a",))
    _delete(database, job_id)
    assert _rows(database) == before


def test_deleting_a_job_keeps_the_rows_of_other_jobs(database: Database) -> None:
    queue_driver.succeeded(database, tags=("a",))
    before = _rows(database)
    _delete(database, queue_driver.succeeded(database, tags=("a",))[0])
    assert _rows(database) == before


@pytest.mark.parametrize("make", [queue_driver.failed, queue_driver.cancelled])
def test_failed_and_cancelled_jobs_can_be_deleted(
    database: Database, make: Callable[[Database], UUID]
) -> None:
    job_id = make(database)
    _delete(database, job_id)
    assert database.read(lambda session: session.get(Job, job_id)) is None


def test_unfinished_jobs_cannot_be_deleted(database: Database) -> None:
    for job_id in (queue_driver.submit(database), queue_driver.running(database).job_id):
        with pytest.raises(JobNotTerminal):
            _delete(database, job_id)


def test_a_job_cannot_be_deleted_while_evaluations_of_its_model_exist(database: Database) -> None:
    job_id, model = queue_driver.succeeded(database)
    evaluation = _evaluated(database, model.id)
    with pytest.raises(ModelInUse, match=str(evaluation)):
        _delete(database, job_id)
    _delete(database, evaluation)
    _delete(database, job_id)
    assert _rows(database)["models"] == 0


def test_deleting_an_evaluation_keeps_the_model(database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    _delete(database, _evaluated(database, model.id))
    assert _rows(database)["artifacts"] == 2


def test_a_job_whose_model_has_an_alias_cannot_be_deleted(database: Database) -> None:
    job_id, model = queue_driver.succeeded(database)
    database.write(lambda session: session.add(ModelAlias(alias="champion", model_id=model.id)))
    with pytest.raises(ModelInUse, match="champion"):
        _delete(database, job_id)


def test_a_retry_is_kept_when_the_retried_job_is_deleted(database: Database) -> None:
    job_id = queue_driver.failed(database)
    retry = queue_driver.submit(database, retry_of=job_id)
    _delete(database, job_id)
    assert database.read(lambda session: session.get_one(Job, retry).retry_of) == job_id


def test_an_unknown_job_cannot_be_deleted(database: Database) -> None:
    with pytest.raises(JobNotFound):
        _delete(database, uuid7())
