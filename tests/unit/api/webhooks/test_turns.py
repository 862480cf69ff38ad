"""Slow receivers share slots of their own; whoever was tried least recently is next."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from api.webhooks import turns
from api.webhooks.turns import MAX_SENT_TO_ONE, QUICK_S, Attempt, Turns
from tests.support.fakes import MonotonicClock


@pytest.fixture
def clock() -> MonotonicClock:
    return MonotonicClock()


@pytest.fixture
def of_process(clock: MonotonicClock) -> Turns:
    return Turns(clock)


def _take_all(of_process: Turns, webhooks: Iterator[UUID] | list[UUID]) -> list[Attempt]:
    """Send as much as there is room for."""
    return [
        of_process.begin(webhook_id) for webhook_id in webhooks for _ in range(of_process.free(webhook_id))
    ]


def _answered(of_process: Turns, clock: MonotonicClock, webhook_id: UUID, after_s: float) -> None:
    attempt = of_process.begin(webhook_id)
    clock.advance(after_s)
    of_process.answered(attempt)
    of_process.end(attempt)


def test_one_delivery_tells_how_quick_a_receiver_is(of_process: Turns, clock: MonotonicClock) -> None:
    quick, slow = uuid7(), uuid7()
    assert (of_process.free(quick), of_process.free(slow)) == (1, 1)
    _answered(of_process, clock, quick, QUICK_S / 2)
    _answered(of_process, clock, slow, 2 * QUICK_S)
    assert (of_process.free(quick), of_process.free(slow)) == (MAX_SENT_TO_ONE, MAX_SENT_TO_ONE)


def test_slow_receivers_leave_room_for_all_others(of_process: Turns, clock: MonotonicClock) -> None:
    slow = [uuid7() for _ in range(100)]
    began = _take_all(of_process, slow)
    assert len(began) == turns._MAX_QUICK
    assert of_process.free(uuid7()) == 0
    clock.advance(2 * QUICK_S)
    began += _take_all(of_process, slow)
    assert of_process.free(slow[0]) == 0
    clock.advance(2 * QUICK_S)
    assert of_process.free(uuid7()) == 1
    began += _take_all(of_process, slow)
    assert len(began) <= turns._MAX_SENT
    assert max(sum(each.webhook_id == one for each in began) for one in slow) <= MAX_SENT_TO_ONE


def test_the_least_recently_tried_is_next(of_process: Turns, clock: MonotonicClock) -> None:
    first, second, new = uuid7(), uuid7(), uuid7()
    for webhook_id in (second, first):
        clock.advance(1.0)
        _answered(of_process, clock, webhook_id, 0.1)
    assert of_process.in_order([first, second, new]) == [new, second, first]


def test_a_receiver_that_is_quick_again_is_no_longer_slow(of_process: Turns, clock: MonotonicClock) -> None:
    one = uuid7()
    _answered(of_process, clock, one, 2 * QUICK_S)
    others = [uuid7() for _ in range(turns._MAX_SLOW)]
    for each in others:
        _answered(of_process, clock, each, 2 * QUICK_S)
    _take_all(of_process, others)
    assert of_process.free(one) == 0
    _answered(of_process, clock, one, QUICK_S / 2)
    assert of_process.free(one) == MAX_SENT_TO_ONE


def test_no_more_receivers_are_remembered_than_a_limit(
    of_process: Turns, clock: MonotonicClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_MAX_KNOWN", 3)
    for _ in range(10):
        _answered(of_process, clock, uuid7(), 0.1)
    assert len(of_process._tried_at) <= 3
    assert len(of_process._was_slow) <= 3
    assert not of_process._sent
