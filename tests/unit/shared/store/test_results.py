"""Epochs, checkpoints and models are read exactly as they were stored."""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.errors import ModelNotFound
from shared.formats.results import ONNX_FILE
from shared.schemas import ModelKind
from shared.store import models, results
from shared.store.results import StoredCheckpoint
from tests.support import stored
from tests.support.factories import make_epoch, make_model, make_progress, make_spec
from tests.support.queue_driver import record, record_progress, running, succeed, succeeded

# numbers whose shortest decimal form is long, and the ends of what a double holds
_EXTREMES = (0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e-17)


def test_an_epoch_is_stored_bit_for_bit(database: Database) -> None:
    attempt = running(database)
    epoch = make_epoch(
        0,
        loss=_EXTREMES[0],
        accuracy=_EXTREMES[1],
        val_loss=_EXTREMES[3],
        val_accuracy=_EXTREMES[2],
        steps={"loss": _EXTREMES, "accuracy": _EXTREMES},
    )
    record_progress(database, attempt, make_progress(epoch))
    [row] = database.read(lambda session: stored.epochs(session, attempt.job_id))
    assert repr(row) == repr(epoch)


def test_epochs_of_a_job_are_read_in_order_without_those_of_other_jobs(database: Database) -> None:
    attempt, other = running(database), running(database)
    record(database, attempt, 12)
    record(database, other, 1)
    rows = database.read(lambda session: stored.epochs(session, attempt.job_id))
    assert [epoch.epoch for epoch in rows] == list(range(12))


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


def test_a_model_is_read_as_it_was_stored(database: Database) -> None:
    attempt, model = running(database), make_model(spec=make_spec(model=ModelKind.DENSE, dataset="digits"))
    succeed(database, attempt, model)
    stored = database.read(lambda session: models.detail(session, model.id))
    assert (stored.id, stored.job_id) == (model.id, attempt.job_id)
    assert (stored.dataset, stored.kind) == ("digits", ModelKind.DENSE)
    assert (stored.layers, stored.parameters) == (model.layers, 7_850)
    assert (stored.weights_sha256, stored.accuracy) == (model.weights_sha256, model.evaluation.accuracy)
    assert database.read(lambda session: models.spec(session, model.id)) == model.spec


def test_files_of_a_model_are_read_with_their_checksums(database: Database) -> None:
    _, model = succeeded(database)
    for name, content in model.files.items():
        _, file = database.read(partial(models.file, reference=model.id, name=name))
        assert (file.size, file.sha256) == (len(content), sha256(content).hexdigest())
        assert stored.model_file(database, model.id, name) == content


@pytest.mark.parametrize(
    "read",
    [
        models.find,
        models.spec,
        lambda session, model_id: models.file(session, model_id, ONNX_FILE),
    ],
)
def test_an_unknown_model_is_not_found(database: Database, read: Callable[[Session, Any], Any]) -> None:
    model_id = uuid7()
    with pytest.raises(ModelNotFound, match=str(model_id)):
        database.read(lambda session: read(session, model_id))
