"""Evaluations are read as they were stored; misclassified images are filtered and read in pages."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from shared.db.engine import Database
from shared.db.tables import Confusion, Evaluation
from shared.errors import JobNotFound, NotReady, PredictionsNotStored
from shared.formats.predictions import PredictedImages
from shared.schemas import ClassResult, Misclassified
from shared.store import attempts, evaluations
from shared.store.evaluations import PredictionFilter
from tests.support.factories import make_evaluation, make_model
from tests.support.queue_driver import running, succeed, succeeded


def test_an_evaluation_is_read_as_it_was_stored(database: Database) -> None:
    unseen = ClassResult(
        label=0,
        name="Zero",
        count=0,
        correct=0,
        rejected=0,
        accuracy=None,
        precision=None,
        recall=None,
        f1=None,
    )
    per_class = (unseen, *make_evaluation().per_class[1:])
    evaluation = make_evaluation(per_class=per_class, threshold=0.4, loss=0.1 + 0.2, rejected=2)
    attempt, model = running(database), make_model(evaluation=evaluation)
    database.write(lambda session: attempts.succeed_training(session, attempt, model))
    stored = database.read(lambda session: evaluations.get(session, attempt.job_id))
    assert stored.model_dump(include=set(evaluation.model_dump())) == evaluation.model_dump()
    assert (stored.job_id, stored.model_id, stored.dataset) == (attempt.job_id, model.id, "mnist")


def test_misclassified_images_are_ordered_by_index(database: Database) -> None:
    [wrong] = make_evaluation().misclassified
    images = tuple(wrong.model_copy(update={"index": index}) for index in (9, 3, 7))
    attempt, model = running(database), make_model(evaluation=make_evaluation(misclassified=images))
    database.write(lambda session: attempts.succeed_training(session, attempt, model))
    stored = database.read(lambda session: evaluations.get(session, attempt.job_id))
    assert [image.index for image in stored.misclassified] == [3, 7, 9]


def test_every_cell_of_the_confusion_matrix_with_images_is_stored(database: Database) -> None:
    succeeded(database)
    cells = database.read(
        lambda session: session.execute(select(func.count(), func.sum(Confusion.count))).one()
    )
    assert tuple(cells) == (11, 50)


def test_a_job_that_has_not_succeeded_has_no_evaluation(database: Database) -> None:
    attempt = running(database)
    with pytest.raises(NotReady, match="has no evaluation"):
        database.read(lambda session: evaluations.get(session, attempt.job_id))


def _indices(database: Database, job_id: UUID, **query: Any) -> list[int]:
    images = database.read(
        lambda session: evaluations.misclassified(session, job_id, **{"limit": 10, **query})
    )
    return [image.index for _, image in images]


def test_misclassified_images_are_filtered_by_class_and_by_prediction(database: Database) -> None:
    pairs = {3: (9, 4), 7: (9, 4), 12: (2, 7), 30: (9, 7)}
    images = tuple(
        Misclassified(index=index, label=label, predicted=predicted, probability=0.5)
        for index, (label, predicted) in pairs.items()
    )
    attempt = running(database)
    succeed(database, attempt, make_model(evaluation=make_evaluation(misclassified=images)))
    assert _indices(database, attempt.job_id) == [3, 7, 12, 30]
    assert _indices(database, attempt.job_id, label=9) == [3, 7, 30]
    assert _indices(database, attempt.job_id, predicted=7) == [12, 30]
    assert _indices(database, attempt.job_id, label=9, predicted=7) == [30]
    assert _indices(database, attempt.job_id, after=(7,), limit=1) == [12]


def _predictions(database: Database, job_id: UUID, **only: Any) -> PredictedImages:
    return database.read(lambda session: evaluations.predictions(session, job_id, PredictionFilter(**only)))


def test_predictions_are_read_as_they_were_stored(database: Database) -> None:
    job_id, model = succeeded(database)
    images = _predictions(database, job_id)
    assert images.to_bytes() == model.evaluation.predictions
    assert (images.indices[7], images.labels[7], images.predicted[7]) == (7, 9, 4)


@pytest.mark.parametrize(
    ("only", "indices"),
    [
        ({"label": 9}, [7, 19, 29, 39, 49]),
        ({"predicted": 4}, [4, 7, 14, 24, 34, 44]),
        ({"correct": False}, [7]),
        ({"label": 9, "correct": True}, [19, 29, 39, 49]),
        ({"label": 10}, []),
    ],
)
def test_predictions_are_filtered(database: Database, only: dict[str, Any], indices: list[int]) -> None:
    job_id, _ = succeeded(database)
    assert _predictions(database, job_id, **only).indices.tolist() == indices


def test_predictions_are_read_page_by_page(database: Database) -> None:
    job_id, _ = succeeded(database)
    only = PredictionFilter(label=9)
    first = database.read(lambda session: evaluations.page_of_predictions(session, job_id, only, limit=2))
    rest = database.read(
        lambda session: evaluations.page_of_predictions(session, job_id, only, after=first[-1][0], limit=9)
    )
    assert [key for key, _ in first + rest] == [(7,), (19,), (29,), (39,), (49,)]
    wrong = first[0][1]
    assert (wrong.index, wrong.label, wrong.predicted) == (7, 9, 4)
    assert wrong.probability == wrong.probabilities[4] == pytest.approx(0.6)


def test_an_evaluation_of_an_earlier_version_has_no_predictions(database: Database) -> None:
    job_id, _ = succeeded(database)
    database.write(lambda session: session.execute(update(Evaluation).values(predictions=None)))
    with pytest.raises(PredictionsNotStored, match="has no predictions of single images"):
        _predictions(database, job_id)


def test_predictions_of_a_job_without_an_evaluation_are_not_ready(database: Database) -> None:
    with pytest.raises(NotReady):
        _predictions(database, running(database).job_id)
    with pytest.raises(JobNotFound):
        _predictions(database, UUID(int=7))
