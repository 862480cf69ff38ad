from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event

from shared.db.engine import Database
from shared.errors import JobNotFound
from shared.schemas import MetricName, Resolution
from shared.store import attempts, metrics
from shared.store.metrics import MetricArrays
from tests.support import factories
from tests.support.factories import make_epoch
from tests.support.statements import asked

ALL = tuple(MetricName)


def _curves(database: Database, job_id: object, resolution: Resolution, names: object = ALL) -> MetricArrays:
    return database.read(lambda session: metrics.read(session, job_id, resolution, names))  # type: ignore[arg-type]


def test_epoch_curves_have_a_point_for_each_epoch(database: Database) -> None:
    attempt = factories.running(database)
    factories.record(database, attempt, 3)

    found = _curves(database, attempt.job_id, Resolution.EPOCH)

    assert tuple(found) == ALL
    assert found[MetricName.VAL_LOSS].tolist() == [make_epoch(epoch).val_loss for epoch in range(3)]
    assert found[MetricName.ACCURACY].tolist() == [make_epoch(epoch).accuracy for epoch in range(3)]


def test_step_curves_count_batches_over_all_epochs(database: Database) -> None:
    attempt = factories.running(database)
    factories.record(database, attempt, 2)

    found = _curves(database, attempt.job_id, Resolution.STEP)

    assert tuple(found) == (MetricName.LOSS, MetricName.ACCURACY)
    assert found[MetricName.LOSS].tolist() == [*make_epoch(0).batch_loss, *make_epoch(1).batch_loss]
    assert found[MetricName.ACCURACY].tolist() == [
        *make_epoch(0).batch_accuracy,
        *make_epoch(1).batch_accuracy,
    ]


def test_batch_metrics_are_kept_bit_for_bit(database: Database) -> None:
    awkward = (0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0)
    attempt = factories.running(database)
    epoch = make_epoch(0, batch_loss=awkward, batch_accuracy=awkward)
    database.write(lambda session: attempts.record(session, attempt, [epoch], b"", lease_s=30.0))

    found = _curves(database, attempt.job_id, Resolution.STEP)[MetricName.LOSS].tolist()

    assert [value.hex() for value in found] == [value.hex() for value in awkward]


@pytest.mark.parametrize("resolution", Resolution)
def test_only_the_curves_that_were_asked_for_are_read(database: Database, resolution: Resolution) -> None:
    job_id, _ = factories.succeeded(database)

    assert tuple(_curves(database, job_id, resolution, (MetricName.LOSS,))) == (MetricName.LOSS,)


def test_curves_that_a_resolution_does_not_have_are_left_out(database: Database) -> None:
    job_id, _ = factories.succeeded(database)

    assert _curves(database, job_id, Resolution.STEP, (MetricName.VAL_LOSS,)) == {}


@pytest.mark.parametrize("resolution", Resolution)
def test_a_job_without_epochs_has_empty_curves(database: Database, resolution: Resolution) -> None:
    found = _curves(database, factories.submitted(database), resolution)

    assert found
    assert all(y.tolist() == [] for y in found.values())


@pytest.mark.parametrize("resolution", Resolution)
def test_an_unknown_job_is_not_found(database: Database, resolution: Resolution) -> None:
    with pytest.raises(JobNotFound):
        _curves(database, uuid4(), resolution)


def test_both_step_curves_are_read_by_one_statement(database: Database) -> None:
    job_id, _ = factories.succeeded(database)

    _exists, read = asked(database, lambda session: metrics.read(session, job_id, Resolution.STEP, ALL))

    assert "batch_loss" in read.sql
    assert "batch_accuracy" in read.sql


def test_postgresql_sends_batch_metrics_in_binary_form(postgresql_url: str) -> None:
    database, formats = Database(postgresql_url), []
    job_id, _ = factories.succeeded(database)

    @event.listens_for(database.engine, "after_cursor_execute")
    def _note(_connection: Any, cursor: Any, *_rest: Any) -> None:
        formats.append(cursor.pgresult.fformat(0))

    _curves(database, job_id, Resolution.STEP)
    database.dispose()

    assert formats == [0, 1]
