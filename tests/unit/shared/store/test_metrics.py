"""Metrics of jobs per epoch and per step."""

from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.errors import JobNotFound
from shared.schemas import MetricName, Resolution
from shared.store import metrics
from shared.store.metrics import MetricArrays
from tests.support import factories, queue_driver
from tests.support.factories import make_epoch
from tests.support.statements import ON_SQLITE, plan, selects

ALL_NAMES = tuple(MetricName)


def _read(
    database: Database, job_id: object, resolution: Resolution, names: object = ALL_NAMES, **span: Any
) -> MetricArrays:
    return database.read(lambda session: metrics.read(session, job_id, resolution, names, **span))  # type: ignore[arg-type]


def test_epoch_metrics_have_a_value_for_each_epoch(database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.record(database, attempt, 3)

    arrays = _read(database, attempt.job_id, Resolution.EPOCH)

    assert tuple(arrays) == ALL_NAMES
    assert arrays[MetricName.VAL_LOSS].tolist() == [make_epoch(epoch).val_loss for epoch in range(3)]
    assert arrays[MetricName.ACCURACY].tolist() == [make_epoch(epoch).accuracy for epoch in range(3)]


def test_step_metrics_have_a_value_for_each_batch_of_all_epochs(database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.record(database, attempt, 2)

    arrays = _read(database, attempt.job_id, Resolution.STEP)

    assert tuple(arrays) == (MetricName.LOSS, MetricName.ACCURACY)
    assert arrays[MetricName.LOSS].tolist() == [*make_epoch(0).batch_loss, *make_epoch(1).batch_loss]
    assert arrays[MetricName.ACCURACY].tolist() == [
        *make_epoch(0).batch_accuracy,
        *make_epoch(1).batch_accuracy,
    ]


def test_batch_metrics_are_stored_bit_for_bit(database: Database) -> None:
    extremes = (0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0)
    attempt = queue_driver.running(database)
    epoch = make_epoch(0, batch_loss=extremes, batch_accuracy=extremes)
    queue_driver.record_progress(database, attempt, factories.make_progress(epoch))

    arrays = _read(database, attempt.job_id, Resolution.STEP)[MetricName.LOSS].tolist()

    assert [value.hex() for value in arrays] == [value.hex() for value in extremes]


@pytest.mark.parametrize("resolution", Resolution)
def test_only_the_requested_metrics_are_read(database: Database, resolution: Resolution) -> None:
    job_id, _ = queue_driver.succeeded(database)

    assert tuple(_read(database, job_id, resolution, (MetricName.LOSS,))) == (MetricName.LOSS,)


def test_metrics_that_a_resolution_does_not_have_are_omitted(database: Database) -> None:
    job_id, _ = queue_driver.succeeded(database)

    assert _read(database, job_id, Resolution.STEP, (MetricName.VAL_LOSS,)) == {}


@pytest.mark.parametrize("resolution", Resolution)
def test_a_job_without_epochs_has_empty_metrics(database: Database, resolution: Resolution) -> None:
    arrays = _read(database, queue_driver.submit(database), resolution)

    assert arrays
    assert all(y.tolist() == [] for y in arrays.values())


@pytest.mark.parametrize("resolution", Resolution)
def test_an_unknown_job_is_not_found(database: Database, resolution: Resolution) -> None:
    with pytest.raises(JobNotFound):
        _read(database, uuid4(), resolution)


@pytest.fixture
def five_epochs(database: Database) -> UUID:
    """A job of five epochs of three steps; the loss of each step is its number over all epochs."""
    attempt = queue_driver.running(database, spec=factories.make_spec(epochs=5))
    for epoch in range(5):
        steps = tuple(float(3 * epoch + step) for step in range(3))
        values = make_epoch(epoch, batch_loss=steps, batch_accuracy=steps)
        queue_driver.record_progress(database, attempt, factories.make_progress(values))
    return attempt.job_id


def test_every_range_of_steps_is_a_part_of_all(database: Database, five_epochs: UUID) -> None:
    firsts = (0, 1, 2, 3, 8, 14, 15, 2**31 - 1)
    for first, last in product(firsts, (None, 0, 1, 2, 3, 7, 14, 15, 2**31 - 1)):
        arrays = _read(database, five_epochs, Resolution.STEP, first=first, last=last)

        expected = list(range(15))[first : None if last is None else last + 1]
        read = [arrays[MetricName.LOSS].tolist(), arrays[MetricName.ACCURACY].tolist()]
        assert read == [expected] * 2, f"from {first} to {last}"


@pytest.mark.parametrize(
    ("first", "last", "epochs"),
    [(0, None, range(5)), (2, None, [2, 3, 4]), (1, 3, [1, 2, 3]), (4, 4, [4]), (5, 9, []), (3, 2, [])],
)
def test_a_range_of_epochs_is_a_part_of_all(
    database: Database, five_epochs: UUID, first: int, last: int | None, epochs: list[int]
) -> None:
    arrays = _read(database, five_epochs, Resolution.EPOCH, first=first, last=last)

    assert arrays[MetricName.VAL_LOSS].tolist() == [make_epoch(epoch).val_loss for epoch in epochs]


@pytest.mark.parametrize("resolution", Resolution)
def test_a_range_of_a_job_without_epochs_is_empty(database: Database, resolution: Resolution) -> None:
    arrays = _read(database, queue_driver.submit(database), resolution, first=3, last=9)

    assert all(y.tolist() == [] for y in arrays.values())


@ON_SQLITE
def test_only_the_epochs_of_a_range_are_read(database: Database, five_epochs: UUID) -> None:
    def read_range(session: Session) -> MetricArrays:
        return metrics.read(session, five_epochs, Resolution.STEP, ALL_NAMES, first=4, last=8)

    _exists, _steps, read = selects(database, read_range)

    assert read.parameters[-2:] == (1, 2)
    assert "(job_id=? AND epoch>? AND epoch<?)" in plan(database, read)


def test_postgresql_sends_batch_metrics_in_binary_form(postgresql: Database) -> None:
    formats = []
    job_id, _ = queue_driver.succeeded(postgresql)

    @event.listens_for(postgresql.engine, "after_cursor_execute")
    def _record_format(_connection: Any, cursor: Any, *_rest: Any) -> None:
        formats.append(cursor.pgresult.fformat(0))

    _read(postgresql, job_id, Resolution.STEP)

    assert formats == [0, 1]
