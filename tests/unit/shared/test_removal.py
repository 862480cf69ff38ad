"""A finished job is deleted with all that it has, and nothing of another job's."""

from collections.abc import Callable
from uuid import UUID

import pytest
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from shared import attempts, removal
from shared.db import Database
from shared.errors import JobNotFound, JobNotTerminal, ModelInUse
from shared.schemas import EvaluateSpec
from shared.tables import Base, Job, ModelAlias
from tests import factories


def _delete(database: Database, job_id: UUID) -> None:
    database.write(lambda session: removal.delete_job(session, job_id))


def _rows(database: Database) -> dict[str, int]:
    return database.read(
        lambda session: {
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        }
    )


def _evaluated(database: Database, model_id: UUID) -> UUID:
    """A job that has evaluated the model."""
    spec: EvaluateSpec = factories.make_evaluate_spec(model_id)
    attempt = factories.running(database, kind="evaluate", spec=spec, model_id=model_id)
    database.write(
        lambda session: attempts.succeed_evaluation(
            session, attempt, model_id, "mnist", factories.make_evaluation()
        )
    )
    return attempt.job_id


def test_nothing_of_a_deleted_job_is_left(database: Database) -> None:
    before = _rows(database)
    job_id, _ = factories.succeeded(database, tags=("a",))
    _delete(database, job_id)
    assert _rows(database) == before


def test_other_jobs_keep_what_they_have(database: Database) -> None:
    factories.succeeded(database, tags=("a",))
    before = _rows(database)
    _delete(database, factories.succeeded(database, tags=("a",))[0])
    assert _rows(database) == before


@pytest.mark.parametrize("make", [factories.failed, factories.cancelled])
def test_a_job_without_a_result_is_deleted(database: Database, make: Callable[[Database], UUID]) -> None:
    job_id = make(database)
    _delete(database, job_id)
    assert database.read(lambda session: session.get(Job, job_id)) is None


def test_a_job_that_is_not_over_is_kept(database: Database) -> None:
    for job_id in (factories.submitted(database), factories.running(database).job_id):
        with pytest.raises(JobNotTerminal):
            _delete(database, job_id)


def test_a_job_whose_model_others_have_evaluated_is_kept_until_they_are_deleted(database: Database) -> None:
    job_id, model = factories.succeeded(database)
    evaluation = _evaluated(database, model.id)
    with pytest.raises(ModelInUse, match=str(evaluation)):
        _delete(database, job_id)
    _delete(database, evaluation)
    _delete(database, job_id)
    assert _rows(database)["models"] == 0


def test_deleting_an_evaluation_keeps_the_model(database: Database) -> None:
    _, model = factories.succeeded(database)
    _delete(database, _evaluated(database, model.id))
    assert _rows(database)["model_files"] == 2


def test_a_job_whose_model_has_an_alias_is_kept(database: Database) -> None:
    job_id, model = factories.succeeded(database)
    database.write(lambda session: session.add(ModelAlias(alias="champion", model_id=model.id)))
    with pytest.raises(ModelInUse, match="champion"):
        _delete(database, job_id)


def test_a_retry_outlives_what_it_repeats(database: Database) -> None:
    job_id = factories.failed(database)
    retry = factories.submitted(database, retry_of=job_id)
    _delete(database, job_id)
    assert database.read(lambda session: session.get_one(Job, retry).retry_of) is None


def test_an_unknown_job_cannot_be_deleted(database: Database) -> None:
    with pytest.raises(JobNotFound):
        _delete(database, uuid7())
