"""Curves and parallel coordinates lie within their square, better values above."""

import pytest
from uuid_utils.compat import uuid7

from api.web.curves import curves, parallel
from shared.lifecycle import JobState
from shared.schemas import AlignedSeries, SweepResult


def result(value: float | None, **parameters: object) -> SweepResult:
    return SweepResult(job_id=uuid7(), state=JobState.SUCCEEDED, parameters=parameters, value=value)


def points(text: str) -> list[tuple[float, float]]:
    pairs = (point.split(",") for point in text.split())
    return [(float(x), float(y)) for x, y in pairs]


def test_curves_share_a_scale_and_end_where_a_job_ends() -> None:
    series = AlignedSeries(name="loss", x=(0, 1, 2), y=((2.0, 1.0, 0.0), (1.0, None, None), (None,) * 3))

    drawn = curves(series)

    assert (drawn.low, drawn.high, drawn.epochs) == (0.0, 2.0, 3)
    assert points(drawn.lines[0]) == [(2, 2), (50, 50), (98, 98)]
    assert points(drawn.lines[1]) == [(2, 50)]
    assert drawn.lines[2] == ""


@pytest.mark.parametrize("y", [((),), ((1.0,),), ((0.5, 0.5),)])
def test_curves_without_a_range_are_drawn_in_the_middle(y: tuple[tuple[float, ...], ...]) -> None:
    drawn = curves(AlignedSeries(name="loss", x=tuple(range(len(y[0]))), y=y))

    assert all(height == 50 for _, height in points(drawn.lines[0]))


@pytest.mark.parametrize("minimized", [False, True])
def test_the_better_job_is_above_on_the_last_axis(minimized: bool) -> None:
    results = [result(0.1, rate=1), result(0.9, rate=2)]

    drawn = parallel(results, ["rate"], objective="loss", minimized=minimized)

    low, high = (points(line)[-1][1] for _, line in drawn.lines)
    assert (low < high) == minimized  # y grows downwards
    assert (drawn.axes[-1].top, drawn.axes[-1].bottom) == ((0.1, 0.9) if minimized else (0.9, 0.1))


def test_an_axis_is_logarithmic_if_its_values_differ_much_and_words_are_evenly_spaced() -> None:
    results = [result(0.5, rate=rate, word=word) for rate, word in ((0.001, "a"), (0.01, "b"), (0.1, "c"))]

    drawn = parallel(results, ["rate", "word"], objective="accuracy", minimized=False)

    assert [axis.is_log for axis in drawn.axes] == [True, False, False]
    assert drawn.axes[1].words == ("c", "b", "a")
    assert [[height for _, height in points(line)[:2]] for _, line in drawn.lines] == [
        [98, 98],
        [50, 50],
        [2, 2],
    ]


def test_jobs_without_a_value_have_no_line() -> None:
    drawn = parallel([result(None, rate=1)], ["rate"], objective="accuracy", minimized=False)

    assert drawn.lines == ()
