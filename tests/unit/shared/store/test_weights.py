"""Weights that a job keeps: stored with their epochs, once, and deleted with them."""

from functools import partial
from math import prod
from uuid import uuid4

import pytest

from shared.db.engine import Database
from shared.errors import JobNotFound, StaleAttempt, WeightsNotFound
from shared.schemas import KeptWeights
from shared.store import attempts, job_edits, results, weights
from shared.store.transitions import AttemptId
from tests.support import factories, queue_driver, stored
from tests.support.factories import make_epoch, make_epoch_weights, make_progress, make_spec
from tests.support.queue_driver import succeed_attempt


def _kept(database: Database, job_id: object) -> KeptWeights:
    return database.read(lambda session: weights.kept(session, job_id))  # type: ignore[arg-type]


def _running(database: Database) -> AttemptId:
    return queue_driver.running(database, spec=make_spec(keep_weights=True))


def test_weights_are_stored_with_their_epochs(database: Database) -> None:
    attempt = _running(database)

    queue_driver.record(database, attempt, 3, keep_weights=True)

    kept = _kept(database, attempt.job_id)
    assert (kept.keep_weights, kept.model, kept.epochs) == (True, "cnn", (0, 1, 2))
    read = partial(weights.after_epoch, job_id=attempt.job_id)
    assert [database.read(partial(read, epoch=epoch)) for epoch in kept.epochs] == [
        *map(make_epoch_weights, range(3))
    ]


def test_the_arrays_fill_the_bytes(database: Database) -> None:
    kept = _kept(database, _running(database).job_id)

    assert kept.size == len(make_epoch_weights(0)) == sum(4 * prod(array.shape) for array in kept.arrays)
    assert [(array.name, array.offset) for array in kept.arrays][:3] == [
        ("conv1/kernel", 0),
        ("conv1/bias", 800),
        ("conv2/kernel", 832),
    ]


def test_a_job_of_another_kind_keeps_none(database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    spec = factories.make_evaluate_spec(model.id)
    job_id = queue_driver.submit(database, kind="evaluate", spec=spec, model_id=model.id)

    kept = _kept(database, job_id)

    assert (kept.keep_weights, kept.model, kept.arrays, kept.epochs) == (False, None, (), ())


def test_epochs_at_the_end_of_an_attempt_keep_their_weights(database: Database) -> None:
    attempt = _running(database)
    queue_driver.record(database, attempt, 1, keep_weights=True)
    progress = make_progress(make_epoch(1), make_epoch(2), keep_weights=True)

    database.write(
        lambda session: succeed_attempt(session, attempt, factories.make_model().produced, progress)
    )

    assert _kept(database, attempt.job_id).epochs == (0, 1, 2)


def test_a_stale_attempt_keeps_none(database: Database) -> None:
    attempt = _running(database)
    database.write(lambda session: attempts.release(session, attempt))
    queue_driver.claim(database, attempt.job_id)
    progress = make_progress(make_epoch(0), keep_weights=True)

    with pytest.raises(StaleAttempt):
        queue_driver.record_progress(database, attempt, progress)

    assert _kept(database, attempt.job_id).epochs == ()


def test_a_record_that_is_repeated_keeps_them_once(database: Database) -> None:
    attempt = _running(database)
    progress = make_progress(make_epoch(0), make_epoch(1), keep_weights=True)

    for _ in range(2):
        queue_driver.record_progress(database, attempt, progress)

    assert _kept(database, attempt.job_id).epochs == (0, 1)


def test_they_are_deleted_with_the_epochs_that_are_trained_again(database: Database) -> None:
    attempt = _running(database)
    queue_driver.record(database, attempt, 2, keep_weights=True)

    database.write(lambda session: results.delete_epochs(session, attempt.job_id))

    assert database.read(lambda session: stored.weights(session, attempt.job_id)) == {}


def test_they_are_deleted_with_the_job(database: Database) -> None:
    attempt = _running(database)
    queue_driver.record(database, attempt, 2, keep_weights=True)
    queue_driver.succeed(database, attempt, factories.make_model())

    database.write(lambda session: job_edits.delete_job(session, attempt.job_id))

    assert database.read(lambda session: stored.weights(session, attempt.job_id)) == {}


@pytest.mark.parametrize(
    ("keep_weights", "reason"), [(True, "has no epoch 2, or has not recorded it yet"), (False, "keeps no")]
)
def test_an_epoch_without_weights_is_not_found_for_a_reason(
    database: Database, keep_weights: bool, reason: str
) -> None:
    attempt = queue_driver.running(database, spec=make_spec(keep_weights=keep_weights))
    queue_driver.record(database, attempt, 2, keep_weights=keep_weights)

    with pytest.raises(WeightsNotFound, match=reason):
        database.read(lambda session: weights.after_epoch(session, attempt.job_id, 2))


def test_an_unknown_job_is_not_found(database: Database) -> None:
    with pytest.raises(JobNotFound):
        _kept(database, uuid4())
    with pytest.raises(JobNotFound):
        database.read(lambda session: weights.after_epoch(session, uuid4(), 0))
