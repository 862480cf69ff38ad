"""Formatting of values."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.fake_api import T0, make_job
from trainshed.cli.formatting import (
    ago,
    cell,
    decimal,
    millisecond,
    minute,
    printable,
    program,
    second,
    short_id,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s ago"), (59.9, "59 s ago"), (3_500, "58 min ago"), (7_200, "2 h ago"), (2e5, "2 d ago")],
)
def test_an_age_is_given_in_its_largest_unit(seconds: float, text: str) -> None:
    assert ago(seconds) == text


def test_times_are_those_of_this_host_and_name_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        at = datetime(2026, 7, 1, 23, 30, 5, 123_456, tzinfo=UTC)
        assert minute(at) == "2026-07-02 01:30 CEST"
        assert second(T0) == "2026-01-02 04:04:05 CET"
        assert millisecond(at) == "2026-07-02 01:30:05.123 CEST"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_nothing_is_a_dash() -> None:
    assert (decimal(None), cell(None).plain, cell("").plain) == ("-", "-", "-")


def test_control_characters_are_replaced_unless_allowed() -> None:
    assert printable("a\x1b[2J\n") == "a?[2J?"
    assert printable("a\x1b[2J\n", allowed="\n") == "a?[2J\n"


def test_a_short_id_is_the_end_of_the_id() -> None:
    job_id = make_job().id
    assert str(job_id).endswith(short_id(job_id))
    assert len(short_id(job_id)) == 8


def test_the_program_is_named_as_it_can_be_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [".venv/bin/trainshed", "demo"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == ".venv/bin/trainshed"
    (tmp_path / "trainshed").touch(mode=0o755)
    assert program() == "trainshed"
