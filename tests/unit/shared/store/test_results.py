"""What attempts produce comes back as it went in."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.db.tables import Confusion
from shared.errors import ModelNotFound, NotReady
from shared.schemas import ClassResult, ModelFormat, ModelKind
from shared.store import attempts, evaluations, models, results
from shared.store.results import StoredCheckpoint
from tests.support.factories import (
    make_epoch,
    make_evaluation,
    make_model,
    make_spec,
    record,
    running,
    succeeded,
)

# numbers whose shortest decimal form is long, and the ends of what a double holds
_AWKWARD = (0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e-17)


def test_an_epoch_comes_back_bit_for_bit(database: Database) -> None:
    attempt = running(database)
    epoch = make_epoch(
        0,
        loss=_AWKWARD[0],
        accuracy=_AWKWARD[1],
        val_loss=_AWKWARD[3],
        val_accuracy=_AWKWARD[2],
        batch_loss=_AWKWARD,
        batch_accuracy=_AWKWARD,
    )
    database.write(lambda session: attempts.record(session, attempt, [epoch], b"x", lease_s=30))
    [stored] = database.read(lambda session: results.epochs(session, attempt.job_id))
    assert repr(stored) == repr(epoch)


def test_epochs_come_back_in_order_and_only_the_jobs_own(database: Database) -> None:
    attempt, other = running(database), running(database)
    record(database, attempt, 12)
    record(database, other, 1)
    stored = database.read(lambda session: results.epochs(session, attempt.job_id))
    assert [epoch.epoch for epoch in stored] == list(range(12))


def test_a_checkpoint_is_replaced_by_the_next(database: Database) -> None:
    attempt = running(database)
    states = [bytes(range(256)) * 300, b"\0", b""]
    stored = []
    for number, state in enumerate(states):
        _put(database, attempt.job_id, number, state)
        stored.append(database.read(lambda session: results.checkpoint(session, attempt.job_id)))
    assert stored == [StoredCheckpoint(number, state) for number, state in enumerate(states)]


def _put(database: Database, *checkpoint: Any) -> None:
    database.write(lambda session: results.put_checkpoint(session, *checkpoint))


def test_a_job_without_a_checkpoint_has_none(database: Database) -> None:
    attempt = running(database)
    assert database.read(lambda session: results.checkpoint(session, attempt.job_id)) is None


def test_an_evaluation_comes_back_as_it_was(database: Database) -> None:
    nothing = ClassResult(
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
    per_class = (nothing, *make_evaluation().per_class[1:])
    evaluation = make_evaluation(per_class=per_class, threshold=0.4, loss=_AWKWARD[0], rejected=2)
    attempt, model = running(database), make_model(evaluation=evaluation)
    database.write(lambda session: attempts.succeed_training(session, attempt, model))
    stored = database.read(lambda session: evaluations.get(session, attempt.job_id))
    assert stored.model_dump(include=set(evaluation.model_dump())) == evaluation.model_dump()
    assert (stored.job_id, stored.model_id, stored.dataset) == (attempt.job_id, model.id, "mnist")


def test_misclassified_images_come_back_by_their_index(database: Database) -> None:
    [wrong] = make_evaluation().misclassified
    images = tuple(wrong.model_copy(update={"index": index}) for index in (9, 3, 7))
    attempt, model = running(database), make_model(evaluation=make_evaluation(misclassified=images))
    database.write(lambda session: attempts.succeed_training(session, attempt, model))
    stored = database.read(lambda session: evaluations.get(session, attempt.job_id))
    assert [image.index for image in stored.misclassified] == [3, 7, 9]


def test_the_whole_confusion_matrix_is_stored(database: Database) -> None:
    succeeded(database)
    cells = database.read(
        lambda session: session.execute(select(func.count(), func.sum(Confusion.count))).one()
    )
    assert tuple(cells) == (100, 50)


def test_a_job_that_has_not_succeeded_has_no_evaluation(database: Database) -> None:
    attempt = running(database)
    with pytest.raises(NotReady, match="has no evaluation"):
        database.read(lambda session: evaluations.get(session, attempt.job_id))


def test_a_model_comes_back_as_it_was(database: Database) -> None:
    attempt, model = running(database), make_model(spec=make_spec(model=ModelKind.DENSE, dataset="digits"))
    database.write(lambda session: attempts.succeed_training(session, attempt, model))
    stored = database.read(lambda session: models.get(session, model.id))
    assert (stored.id, stored.job_id) == (model.id, attempt.job_id)
    assert (stored.dataset, stored.kind) == ("digits", ModelKind.DENSE)
    assert (stored.layers, stored.parameters) == (model.layers, 7_850)
    assert (stored.weights_sha256, stored.accuracy) == (model.weights_sha256, model.evaluation.accuracy)
    assert database.read(lambda session: models.spec(session, model.id)) == model.spec


def test_a_models_files_come_back_with_their_checksums(database: Database) -> None:
    _, model = succeeded(database)
    for format_, content in model.files.items():
        file = _file(database, model.id, format_)
        assert (file.content, len(file.sha256)) == (content, 64)
    assert len({_file(database, model.id, format_).sha256 for format_ in ModelFormat}) == 2


def _file(database: Database, model_id: Any, format_: ModelFormat) -> Any:
    return database.read(lambda session: models.file(session, model_id, format_))


@pytest.mark.parametrize(
    "look",
    [
        models.get,
        models.spec,
        lambda session, model_id: models.file(session, model_id, ModelFormat.ONNX),
    ],
)
def test_an_unknown_model_is_not_found(database: Database, look: Callable[[Session, Any], Any]) -> None:
    model_id = uuid7()
    with pytest.raises(ModelNotFound, match=str(model_id)):
        database.read(lambda session: look(session, model_id))
