"""Formats of values on pages."""

from datetime import UTC, datetime, timedelta

import pytest

from api.web import formats
from shared.lifecycle import JobState, Phase, WorkerState
from shared.schemas import WaitingFor

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (0.9, "now"), (59, "59 s ago"), (60, "1 min ago"), (7_199, "1 h ago"), (200_000, "2 d ago")],
)
def test_how_long_ago(seconds: float, text: str) -> None:
    assert formats.ago(NOW - timedelta(seconds=seconds), NOW) == text


def test_what_comes() -> None:
    assert formats.ago(NOW + timedelta(minutes=3), NOW) == "in 3 min"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),  # noqa: RUF001 (a dash)
        (0.0, "0 s"),
        (0.421, "0.42 s"),
        (0.999, "1.0 s"),
        (9.99, "10.0 s"),
        (9.999, "10 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7_380, "2 h 03 min"),
        (93_600, "1 d 02 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds) == text


def test_numbers() -> None:
    assert (formats.number(1_234_567), formats.decimal(0.12345), formats.percent(0.98765)) == (
        "1,234,567",
        "0.1235",
        "98.77 %",
    )


def test_every_state_phase_and_reason_has_a_word() -> None:
    assert formats.word(JobState.QUEUED) == "Queued"
    assert formats.word(Phase.LOADING_DATA) == "Loading data"
    assert formats.word(WorkerState.DRAINING) == "Draining"
    assert formats.word("worker_lost") == "Worker lost"
    assert all(formats.reason(reason) for reason in (None, *WaitingFor))


def test_moments_are_in_utc() -> None:
    assert formats.moment(NOW) == "2026-01-02 03:04:05 UTC"


def test_a_sparkline_spans_its_box() -> None:
    assert formats.sparkline([1.0, 3.0, 2.0], width=12, height=12) == "1.0,11.0 6.0,1.0 11.0,6.0"
    assert formats.sparkline([1.0, 1.0], width=12, height=12) == "1.0,11.0 11.0,11.0"
    assert formats.sparkline([]) == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, formats.NOTHING),
        (23_976, "24 kB"),
        (999_400, "999 kB"),
        (999_500, "1.0 MB"),
        (1_300_000, "1.3 MB"),
        (999_900_000, "999.9 MB"),
        (1_940_000_000, "1.9 GB"),
    ],
)
def test_sizes(count: int | None, text: str) -> None:
    assert formats.size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (True, "yes"), (False, "no"), (1, "1"), (0.00123456, "0.001235"), ("adam", "adam")],
)
def test_a_value_of_a_specification(value: object, text: str) -> None:
    assert formats.setting(value) == text
