import json
from uuid import uuid4

import numpy as np
import pytest

from api.jobs.metric_series import downsample, to_csv, to_ndjson
from shared.schemas import JobMetrics, Resolution, Series

LOSS = "loss"


def _downsample(y: list[float], max_points: int) -> Series:
    [series] = downsample({LOSS: np.array(y)}, Resolution.STEP, max_points)
    return series


@pytest.mark.parametrize("max_points", [4, 5, 1_000])
def test_short_metric_is_not_downsampled(max_points: int) -> None:
    series = _downsample([4.0, 3.0, 2.0, 1.0], max_points)

    assert (series.name, series.resolution) == ("loss", "step")
    assert (series.x, series.y) == ((0, 1, 2, 3), (4.0, 3.0, 2.0, 1.0))
    assert (series.total_points, series.downsampled, series.min, series.max) == (4, False, None, None)


def test_point_of_a_downsampled_metric_is_the_last_of_several_with_their_minimum_and_maximum() -> None:
    series = _downsample([5.0, 9.0, 3.0, 2.0, 0.5, 1.0], 2)

    assert (series.x, series.y) == ((2, 5), (3.0, 1.0))
    assert (series.min, series.max) == ((3.0, 0.5), (9.0, 2.0))
    assert (series.total_points, series.downsampled) == (6, True)


@pytest.mark.parametrize("total", [2, 7, 101, 1_000])
@pytest.mark.parametrize("max_points", [1, 3, 100])
def test_downsampling_keeps_every_peak_and_the_last_point(total: int, max_points: int) -> None:
    y = np.random.default_rng(total).normal(size=total)

    series = _downsample(y.tolist(), max_points)

    assert len(series.x) == len(series.y) == min(total, max_points)
    assert (series.x[-1], series.y[-1]) == (total - 1, y[-1])
    ends = np.array([series.min or series.y, series.max or series.y], float)
    assert (ends[0].min(), ends[1].max()) == (y.min(), y.max())
    assert list(series.x) == sorted(set(series.x))
    assert all(y[x] == value for x, value in zip(series.x, series.y, strict=True))


@pytest.mark.parametrize("max_points", [2, 4])
def test_points_of_a_range_have_the_numbers_that_they_have_among_all(max_points: int) -> None:
    [series] = downsample({LOSS: np.array([4.0, 3.0, 2.0, 1.0])}, Resolution.STEP, max_points, first=100)

    assert series.x == {2: (101, 103), 4: (100, 101, 102, 103)}[max_points]
    assert series.total_points == 4


def test_metric_without_points_stays_empty() -> None:
    assert (_downsample([], 10).x, _downsample([], 10).y) == ((), ())


def test_tables_have_one_line_a_point() -> None:
    job_id = uuid4()
    short, long = _downsample([1.5, 0.5], 10), _downsample([1.0, 2.0, 3.0, 4.0], 2)
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
