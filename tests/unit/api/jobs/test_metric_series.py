import json
from uuid import uuid4

import numpy as np
import pytest

from api.jobs.metric_series import series, to_csv, to_ndjson
from shared.schemas import JobMetrics, MetricName, Resolution, Series

LOSS = MetricName.LOSS


def _one(y: list[float], max_points: int) -> Series:
    [found] = series({LOSS: np.array(y)}, Resolution.STEP, max_points)
    return found


@pytest.mark.parametrize("max_points", [4, 5, 1_000])
def test_a_curve_that_is_short_enough_is_itself(max_points: int) -> None:
    found = _one([4.0, 3.0, 2.0, 1.0], max_points)

    assert (found.name, found.resolution) == ("loss", "step")
    assert (found.x, found.y) == ((0, 1, 2, 3), (4.0, 3.0, 2.0, 1.0))
    assert (found.total_points, found.downsampled, found.min, found.max) == (4, False, None, None)


def test_a_point_of_a_long_curve_is_the_last_of_several_with_their_least_and_greatest() -> None:
    found = _one([5.0, 9.0, 3.0, 2.0, 0.5, 1.0], 2)

    assert (found.x, found.y) == ((2, 5), (3.0, 1.0))
    assert (found.min, found.max) == ((3.0, 0.5), (9.0, 2.0))
    assert (found.total_points, found.downsampled) == (6, True)


@pytest.mark.parametrize("total", [2, 7, 101, 1_000])
@pytest.mark.parametrize("max_points", [1, 3, 100])
def test_no_peak_and_no_end_is_lost_however_few_points_there_are(total: int, max_points: int) -> None:
    y = np.random.default_rng(total).normal(size=total)

    found = _one(y.tolist(), max_points)

    assert len(found.x) == len(found.y) == min(total, max_points)
    assert (found.x[-1], found.y[-1]) == (total - 1, y[-1])
    assert (min(found.min or found.y), max(found.max or found.y)) == (y.min(), y.max())
    assert list(found.x) == sorted(set(found.x))
    assert all(y[x] == value for x, value in zip(found.x, found.y, strict=True))


def test_an_empty_curve_stays_one() -> None:
    assert (_one([], 10).x, _one([], 10).y) == ((), ())


def test_tables_have_a_line_a_point() -> None:
    job_id = uuid4()
    short, long = _one([1.5, 0.5], 10), _one([1.0, 2.0, 3.0, 4.0], 2)
    metrics = [JobMetrics(job_id=job_id, series=(short, long))]

    assert to_csv(metrics).splitlines() == [
        "job_id,name,resolution,x,y,min,max",
        f"{job_id},loss,step,0,1.5,,",
        f"{job_id},loss,step,1,0.5,,",
        f"{job_id},loss,step,1,2.0,1.0,2.0",
        f"{job_id},loss,step,3,4.0,3.0,4.0",
    ]
    first, *_, last = map(json.loads, to_ndjson(metrics).splitlines())
    assert first == {
        "job_id": str(job_id),
        "name": "loss",
        "resolution": "step",
        "x": 0,
        "y": 1.5,
        "min": None,
        "max": None,
    }
    assert (last["x"], last["y"], last["min"], last["max"]) == (3, 4.0, 3.0, 4.0)
