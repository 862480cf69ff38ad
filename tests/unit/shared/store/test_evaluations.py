"""Evaluations are read as they were stored; misclassified images are filtered and read in pages."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from shared.db.engine import Database
from shared.db.tables import Confusion
from shared.errors import NotReady
from shared.schemas import ClassResult, Misclassified
from shared.store import attempts, evaluations
from tests.support.factories import make_evaluation, make_model, running, succeed, succeeded


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
