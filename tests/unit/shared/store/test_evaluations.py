"""Evaluations are read as they were stored; misclassified images are filtered and read in pages."""

from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from shared.db.engine import Database
from shared.errors import EvaluationNotFound, JobNotFound, NotReady, PredictionsNotStored
from shared.formats.classification import classification
from shared.formats.predictions import PredictedImages
from shared.formats.results import NewResult, Produced
from shared.schemas import Evaluation
from shared.store import evaluations
from shared.store.evaluations import PredictionFilter
from tests.support import stored
from tests.support.factories import as_shown, make_evaluation, make_model, make_regression
from tests.support.queue_driver import report, running, succeed, succeeded


def _stored(database: Database, result: NewResult) -> UUID:
    """A training job with these results."""
    attempt = running(database)
    succeed(database, attempt, make_model(evaluation=result))
    return attempt.job_id


def test_an_evaluation_is_read_as_it_was_stored(database: Database) -> None:
    result = make_evaluation(threshold=0.95, loss=0.1 + 0.2)
    job_id = _stored(database, result)
    evaluation = stored.evaluation(database, job_id)
    assert evaluation.model_dump(include=set(Evaluation.model_fields)) == as_shown(result).model_dump()
    assert (evaluation.job_id, evaluation.model_id, evaluation.dataset) == (job_id, job_id, "mnist")
    assert (evaluation.rejected, evaluation.loss) == (50, 0.1 + 0.2)


def test_misclassified_images_are_ordered_by_index(database: Database) -> None:
    job_id = _stored(database, make_evaluation(wrong={9: (2, 4), 3: (1, 4), 7: (9, 4)}))
    assert [image.index for image in stored.evaluation(database, job_id).misclassified] == [3, 7, 9]


def test_results_without_classes_are_read_as_they_were_stored(database: Database) -> None:
    values = {f"value {number}": number / 3 for number in range(200)} | {"nothing": float("nan")}
    job_id = _stored(database, make_regression(values=values))
    evaluation = stored.evaluation(database, job_id)
    assert evaluation.values == {**values, "nothing": None}
    assert (evaluation.type, evaluation.size, evaluation.dataset) == ("values", 40, "houses")
    assert (evaluation.per_class, evaluation.confusion_matrix, evaluation.accuracy) == ((), None, None)
    with pytest.raises(PredictionsNotStored):
        _predictions(database, job_id)


@pytest.mark.parametrize("classes", [2, 3, 300])
def test_classes_without_names_may_be_of_any_number(database: Database, classes: int) -> None:
    result = classification(np.eye(classes), [1, *range(1, classes)])
    job_id = _stored(database, result)
    evaluation = stored.evaluation(database, job_id)
    assert evaluation.confusion_matrix is not None
    assert [len(row) for row in evaluation.confusion_matrix] == [classes] * classes
    assert [(row.label, row.name) for row in evaluation.per_class] == [(n, None) for n in range(classes)]
    assert (evaluation.confusion_matrix[1][0], evaluation.accuracy) == (1, (classes - 1) / classes)
    assert _indices(database, job_id) == [0]


def test_a_job_that_has_succeeded_without_an_evaluation_has_none(database: Database) -> None:
    attempt = running(database)
    report(database, attempt, Produced())
    for read in (evaluations.get, evaluations.predictions):
        with pytest.raises(EvaluationNotFound, match="without an evaluation"):
            database.read(partial(read, job_id=attempt.job_id))


def test_a_job_that_has_not_succeeded_has_no_evaluation(database: Database) -> None:
    attempt = running(database)
    with pytest.raises(NotReady, match="has no evaluation"):
        database.read(lambda session: evaluations.get(session, attempt.job_id))


def _indices(database: Database, job_id: UUID, **query: Any) -> list[int]:
    _, images = database.read(
        lambda session: evaluations.misclassified(session, job_id, **{"limit": 10, **query})
    )
    return [image.index for _, image in images]


def test_misclassified_images_are_filtered_by_class_and_by_prediction(database: Database) -> None:
    job_id = _stored(database, make_evaluation(wrong={3: (9, 4), 7: (9, 4), 12: (2, 7), 30: (9, 7)}))
    assert _indices(database, job_id) == [3, 7, 12, 30]
    assert _indices(database, job_id, label=9) == [3, 7, 30]
    assert _indices(database, job_id, predicted=7) == [12, 30]
    assert _indices(database, job_id, label=9, predicted=7) == [30]
    assert _indices(database, job_id, after=(7,), limit=1) == [12]


def _predictions(database: Database, job_id: UUID, **only: Any) -> PredictedImages:
    return database.read(lambda session: evaluations.predictions(session, job_id, PredictionFilter(**only)))


def test_predictions_are_read_as_they_were_stored(database: Database) -> None:
    job_id, model = succeeded(database)
    images = _predictions(database, job_id)
    assert images.to_bytes() == model.evaluation.body
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
    stored.drop_predictions(database)
    with pytest.raises(PredictionsNotStored, match="has no predictions of single images"):
        _predictions(database, job_id)
    evaluation = stored.evaluation(database, job_id)
    assert (evaluation.has_predictions, evaluation.confusion_matrix, evaluation.misclassified) == (
        False,
        None,
        (),
    )
    assert [row.count for row in evaluation.per_class] == [5] * 10


def test_predictions_of_a_job_without_an_evaluation_are_not_ready(database: Database) -> None:
    with pytest.raises(NotReady):
        _predictions(database, running(database).job_id)
    with pytest.raises(JobNotFound):
        _predictions(database, UUID(int=7))
