"""Which images a job uses: those that its worker selects."""

from uuid import UUID

import pytest

from api.jobs.job_images import UsedImages, used
from shared.datasets import splits
from shared.datasets.catalog import DatasetInfo
from shared.db.engine import Database
from shared.errors import DataUnavailable, JobNotFound, ModelNotFound
from shared.schemas import Part
from tests.support import factories, queue_driver, registry

INFO = DatasetInfo("tiny", 200, 90, 100, 20, 50, factories.NAMES)


def _used(database: Database, job_id: UUID, part: Part) -> UsedImages:
    return database.read(lambda session: used(session, job_id, part))


def _rows(database: Database, job_id: UUID, part: Part) -> list[int]:
    rows: list[int] = _used(database, job_id, part).rows(INFO).tolist()
    return rows


def test_a_training_uses_the_images_that_its_spec_selects(database: Database) -> None:
    job_id = queue_driver.submit(database, spec=factories.make_spec(seed=5))

    training, validation, evaluation = (_rows(database, job_id, part) for part in Part)

    assert training == splits.train_rows(5, 100, 200).tolist()
    assert validation == splits.validation_rows(5, 20, 90).tolist()
    assert evaluation == splits.evaluation_rows(5, 50, 90, 20).tolist()


def test_an_evaluation_uses_images_of_its_own_and_its_model_those_of_its_training(database: Database) -> None:
    _, model = queue_driver.succeeded(database)  # with the seed 1
    spec = factories.make_evaluate_spec(model.id, seed=9, evaluation_size=30)
    job_id = queue_driver.submit(database, kind="evaluate", spec=spec, model_id=model.id)

    assert _rows(database, job_id, Part.EVALUATION) == splits.evaluation_rows(9, 30, 90, 20).tolist()
    assert _rows(database, job_id, Part.TRAINING) == splits.train_rows(1, 100, 200).tolist()
    assert [_used(database, job_id, part).total for part in Part] == [100, 20, 30]


@pytest.mark.parametrize("part", Part)
def test_a_dataset_with_fewer_images_than_the_job_used_is_unavailable(part: Part) -> None:
    images = UsedImages(
        part, factories.make_spec(train_size=201, validation_size=91, evaluation_size=91), None
    )

    with pytest.raises(DataUnavailable, match="the dataset `tiny` has changed"):
        images.rows(INFO)


def test_what_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(JobNotFound):
        _used(database, factories.make_new_job().id, Part.TRAINING)

    _, model = queue_driver.succeeded(database)
    spec = factories.make_evaluate_spec(model.id)
    job_id = queue_driver.cancelled(database, kind="evaluate", spec=spec, model_id=model.id)
    registry.delete_model(database, model.id)
    with pytest.raises(ModelNotFound):
        _used(database, job_id, Part.EVALUATION)
