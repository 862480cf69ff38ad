"""Metrics of jobs per epoch and per step."""

import math
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.errors import JobNotFound, UnknownMetric
from shared.formats.epochs import EpochMetrics, unpack_steps
from shared.schemas import Resolution
from shared.store import metrics
from shared.store.metrics import MetricArrays
from tests.support import factories, queue_driver, stored
from tests.support.factories import make_epoch
from tests.support.statements import ON_SQLITE, plan, selects

ALL_NAMES = ("loss", "accuracy", "val_loss", "val_accuracy")


def _read(
    database: Database, job_id: object, resolution: Resolution, names: object = (), **span: Any
) -> MetricArrays:
    return database.read(lambda session: metrics.read(session, job_id, resolution, names, **span))  # type: ignore[arg-type]


def test_epoch_metrics_have_a_value_for_each_epoch(database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.record(database, attempt, 3)

    arrays = _read(database, attempt.job_id, Resolution.EPOCH)

    assert tuple(arrays) == ALL_NAMES
    assert arrays["val_loss"].tolist() == [make_epoch(epoch).values["val_loss"] for epoch in range(3)]
    assert arrays["accuracy"].tolist() == [make_epoch(epoch).values["accuracy"] for epoch in range(3)]


def test_step_metrics_have_a_value_for_each_batch_of_all_epochs(database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.record(database, attempt, 2)

    arrays = _read(database, attempt.job_id, Resolution.STEP)

    assert tuple(arrays) == ("loss", "accuracy")
    steps = [unpack_steps(make_epoch(epoch).steps) for epoch in range(2)]
    for name, values in arrays.items():
        assert values.tolist() == [*steps[0][name], *steps[1][name]]


def test_step_metrics_go_on_into_the_epoch_that_is_being_trained(database: Database) -> None:
    attempt = queue_driver.running(database)
    begun = make_epoch(0, steps={"loss": [0.5, 0.25, 0.125]})
    queue_driver.record_progress(database, attempt, factories.make_progress(running=begun))
    assert _read(database, attempt.job_id, Resolution.STEP)["loss"].tolist() == [0.5, 0.25, 0.125]
    rest = _read(database, attempt.job_id, Resolution.STEP, first=1, last=1)
    assert rest["loss"].tolist() == [0.25]
    assert _read(database, attempt.job_id, Resolution.EPOCH) == {}
    assert database.read(lambda session: metrics.names_of_steps(session, attempt.job_id)) == ["loss"]
    later = make_epoch(1, steps={"loss": [0.0625], "accuracy": [0.5]})
    progress = factories.make_progress(make_epoch(0), running=later)
    queue_driver.record_progress(database, attempt, progress)
    loss = [*unpack_steps(make_epoch(0).steps)["loss"].tolist(), 0.0625]
    assert _read(database, attempt.job_id, Resolution.STEP)["loss"].tolist() == loss
    assert _read(database, attempt.job_id, Resolution.STEP, first=2)["loss"].tolist() == [0.0625]
    assert _read(database, attempt.job_id, Resolution.EPOCH)["loss"].tolist() == [1.0]


def test_steps_of_an_earlier_attempt_that_were_not_completed_are_left_out_once_it_is_resumed(
    database: Database,
) -> None:
    attempt = queue_driver.running(database)
    queue_driver.record_progress(database, attempt, factories.make_progress(running=make_epoch(0)))
    queue_driver.expire(database, attempt)
    assert len(_read(database, attempt.job_id, Resolution.STEP)["loss"]) == 2
    queue_driver.claim(database, attempt.job_id, owner="worker-2/1")
    assert _read(database, attempt.job_id, Resolution.STEP) == {}


def test_batch_metrics_are_stored_bit_for_bit(database: Database) -> None:
    extremes = (0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0)
    attempt = queue_driver.running(database)
    epoch = make_epoch(0, steps={"loss": extremes})
    queue_driver.record_progress(database, attempt, factories.make_progress(epoch))

    arrays = _read(database, attempt.job_id, Resolution.STEP)["loss"].tolist()

    assert [value.hex() for value in arrays] == [value.hex() for value in extremes]


@pytest.mark.parametrize("resolution", Resolution)
def test_only_the_requested_metrics_are_read(database: Database, resolution: Resolution) -> None:
    job_id, _ = queue_driver.succeeded(database)

    assert tuple(_read(database, job_id, resolution, ("loss",))) == ("loss",)


def test_metrics_that_a_resolution_does_not_have_are_omitted(database: Database) -> None:
    job_id, _ = queue_driver.succeeded(database)

    assert _read(database, job_id, Resolution.STEP, ("val_loss",)) == {}


@pytest.mark.parametrize("resolution", Resolution)
def test_a_job_without_epochs_has_no_metrics(database: Database, resolution: Resolution) -> None:
    assert _read(database, queue_driver.submit(database), resolution) == {}


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
        values = make_epoch(epoch, steps={"loss": steps, "accuracy": steps})
        queue_driver.record_progress(database, attempt, factories.make_progress(values))
    return attempt.job_id


def test_every_range_of_steps_is_a_part_of_all(database: Database, five_epochs: UUID) -> None:
    firsts = (0, 1, 2, 3, 8, 14, 15, 2**31 - 1)
    for first, last in product(firsts, (None, 0, 1, 2, 3, 7, 14, 15, 2**31 - 1)):
        arrays = _read(database, five_epochs, Resolution.STEP, first=first, last=last)

        expected = list(range(15))[first : None if last is None else last + 1]
        read = [values.tolist() for values in arrays.values()]
        assert read == [expected] * 2, f"from {first} to {last}"


@pytest.mark.parametrize(
    ("first", "last", "epochs"),
    [(0, None, range(5)), (2, None, [2, 3, 4]), (1, 3, [1, 2, 3]), (4, 4, [4]), (5, 9, []), (3, 2, [])],
)
def test_a_range_of_epochs_is_a_part_of_all(
    database: Database, five_epochs: UUID, first: int, last: int | None, epochs: list[int]
) -> None:
    arrays = _read(database, five_epochs, Resolution.EPOCH, first=first, last=last)

    assert arrays["val_loss"].tolist() == [make_epoch(epoch).values["val_loss"] for epoch in epochs]


def test_what_an_epoch_does_not_have_is_no_number(database: Database) -> None:
    attempt = queue_driver.running(database)
    first = EpochMetrics.of(0, 0.1, {"loss": 1.0}, {"loss": [2.0, 1.0]})
    second = EpochMetrics.of(1, 0.1, {"loss": math.nan, "r2": 0.5}, {"rate": [0.1, 0.2, 0.3]})
    queue_driver.record_progress(database, attempt, factories.make_progress(first, second))

    arrays = {resolution: _read(database, attempt.job_id, resolution) for resolution in Resolution}

    of_epochs = {"loss": [1.0, math.nan], "r2": [math.nan, 0.5]}
    of_steps = {"loss": [2.0, 1.0, *[math.nan] * 3], "rate": [*[math.nan] * 2, 0.1, 0.2, 0.3]}
    for resolution, expected in ((Resolution.EPOCH, of_epochs), (Resolution.STEP, of_steps)):
        assert arrays[resolution].keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(arrays[resolution][name], values)


def test_the_last_value_of_each_metric_is_kept_though_later_epochs_do_not_report_it(
    database: Database,
) -> None:
    attempt = queue_driver.running(database)
    reports = ({"loss": 3.0, "r2": 0.1}, {"loss": 2.0, "mae": math.inf}, {"loss": 1.0})
    for epoch, values in enumerate(reports):
        progress = factories.make_progress(EpochMetrics.of(epoch, 0.1, values))
        queue_driver.record_progress(database, attempt, progress)
    queue_driver.fail(database, attempt)

    assert stored.detail(database, attempt.job_id).values == {"loss": 1.0, "mae": None, "r2": 0.1}
    assert stored.values(database, attempt.job_id) == {"loss": 1.0, "r2": 0.1}


def test_an_unknown_name_is_answered_with_the_nearest_one(database: Database) -> None:
    attempt = queue_driver.running(database)

    def require(name: str) -> None:
        database.read(lambda session: metrics.require(session, [attempt.job_id], [name]))

    require("anything")  # nothing is recorded yet
    epoch = EpochMetrics.of(0, 0.1, {"val_r2": 0.5}, {"rate": [0.1]})
    queue_driver.record_progress(database, attempt, factories.make_progress(epoch))
    for known in ("val_r2", "rate"):
        require(known)
    with pytest.raises(UnknownMetric, match=r"'val_r3': did you mean `val_r2`\? Recorded are rate, val_r2"):
        require("val_r3")
    with pytest.raises(UnknownMetric, match="Recorded are rate, val_r2"):
        require("zzz")


@ON_SQLITE
def test_only_the_epochs_of_a_range_are_read(database: Database, five_epochs: UUID) -> None:
    def read_range(session: Session) -> MetricArrays:
        return metrics.read(session, five_epochs, Resolution.STEP, first=4, last=8)

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
