"""Cursors continue a list where a page ended, and nothing else is accepted as one."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import FiniteFloat

from api.http.paging import Cursors
from shared.errors import InvalidCursor
from shared.schemas import UtcTime

_MODELS = Cursors("models", tuple[UtcTime, UUID])
_DURATIONS = Cursors("jobs sorted by -duration", tuple[FiniteFloat | None, UUID])
_TIME = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
_ID = UUID(int=1)
_NUMBERS = Cursors("numbers", tuple[int])


def _encoded(content: Any) -> str:
    return urlsafe_b64encode(json.dumps(content).encode()).decode()


def test_a_parsed_cursor_is_the_key_that_was_formatted() -> None:
    assert _MODELS.parse(_MODELS.format((_TIME, _ID))) == (_TIME, _ID)
    for value in (0.1, None):
        assert _DURATIONS.parse(_DURATIONS.format((value, _ID))) == (value, _ID)
    assert _MODELS.parse(None) is None


def test_a_cursor_needs_no_escaping_in_a_url() -> None:
    cursor = _MODELS.format((_TIME, _ID))
    assert set(cursor) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def test_a_cursor_of_another_list_is_refused() -> None:
    cursor = _MODELS.format((_TIME, _ID))
    with pytest.raises(InvalidCursor, match="belongs to the list of models, and this is the list of sweeps"):
        Cursors("sweeps", tuple[UtcTime, UUID]).parse(cursor)
    with pytest.raises(InvalidCursor, match="belongs to the list of models"):
        _DURATIONS.parse(cursor)


_INVALID_KEYS: list[Any] = [
    [],
    [1.0],
    [1.0, "x"],
    [1.0, str(_ID), 2],
    ["a long time", str(_ID)],
    [float("nan"), str(_ID)],
    [float("inf"), str(_ID)],
    str(_ID),
    {},
]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "!", "bnVsbA", "WzEsMiwzXQ", "W10", "e30", "äö", "MQ", "0198f0a2", "A" * 10_000, "1.17"]
    + [_encoded(["jobs sorted by -duration", key]) for key in _INVALID_KEYS],
)
def test_an_invalid_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor, match="next_cursor"):
        _DURATIONS.parse(cursor)


@pytest.mark.parametrize("time", ["2026-01-02T03:04:05", "0001-01-01T00:00:00+10:00", "now"])
def test_a_cursor_with_a_time_that_no_row_can_have_is_refused(time: str) -> None:
    with pytest.raises(InvalidCursor):
        _MODELS.parse(_encoded(["models", [time, str(_ID)]]))


def _keyed(*numbers: int) -> list[tuple[tuple[int], str]]:
    return [((number,), str(number)) for number in numbers]


def test_a_page_has_a_cursor_if_there_are_more_rows_than_its_limit() -> None:
    page = _NUMBERS.page(_keyed(1, 2, 3), 2)
    assert (page.data, page.has_more, _NUMBERS.parse(page.next_cursor)) == (("1", "2"), True, (2,))


@pytest.mark.parametrize("numbers", [(), (1,), (1, 2)])
def test_the_last_page_has_no_cursor(numbers: tuple[int, ...]) -> None:
    page = _NUMBERS.page(_keyed(*numbers), 2)
    assert (len(page.data), page.has_more, page.next_cursor) == (len(numbers), False, None)


@pytest.mark.parametrize(("numbers", "continues_after"), [((), 6), ((7,), 7), ((7, 8), 8), ((7, 8, 9), 8)])
def test_every_page_of_a_growing_list_has_a_cursor(numbers: tuple[int, ...], continues_after: int) -> None:
    page = _NUMBERS.page(_keyed(*numbers), 2, start=(6,))
    assert _NUMBERS.parse(page.next_cursor) == (continues_after,)
    assert page.has_more == (len(numbers) > 2)
