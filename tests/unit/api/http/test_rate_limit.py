import asyncio

import pytest

from api.http import rate_limit
from api.http.rate_limit import RateLimiter, Taken


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def count_allowed(limiter: RateLimiter, client: str, requests: int) -> int:
    return sum(limiter.acquire(client, is_known=True) == 0 for _ in range(requests))


def test_burst_is_ten_seconds_of_requests() -> None:
    assert count_allowed(RateLimiter(4, now=Clock()), "a", 100) == 40


def test_after_a_burst_requests_are_allowed_at_the_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(4, now=clock)
    count_allowed(limiter, "a", 100)
    assert limiter.acquire("a", is_known=True) == pytest.approx(0.25)
    clock.seconds += 1.01
    assert count_allowed(limiter, "a", 100) == 4


def test_clients_have_separate_limits() -> None:
    limiter = RateLimiter(1, now=Clock())
    count_allowed(limiter, "a", 100)
    assert count_allowed(limiter, "b", 100) == 10


def test_rate_of_zero_is_unlimited() -> None:
    assert count_allowed(RateLimiter(0, now=Clock()), "a", 1_000) == 1_000


def test_slow_rate_allows_the_first_request() -> None:
    clock = Clock()
    limiter = RateLimiter(0.01, now=clock)
    assert count_allowed(limiter, "a", 10) == 1
    assert limiter.acquire("a", is_known=True) == pytest.approx(100)
    clock.seconds += 101
    assert count_allowed(limiter, "a", 10) == 1


@pytest.fixture
def room_for_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "_MAX_CLIENTS", 3)


@pytest.mark.usefixtures("room_for_three")
def test_clients_below_their_limit_are_forgotten_when_there_are_many() -> None:
    clock = Clock()
    limiter = RateLimiter(1, now=clock)
    for client in "abc":
        limiter.acquire(client, is_known=False)
    clock.seconds += 2
    limiter.acquire("d", is_known=False)
    assert set(limiter._strangers.next) == {"d"}


@pytest.mark.usefixtures("room_for_three")
def test_clients_for_whom_there_is_no_room_share_one_limit() -> None:
    limiter = RateLimiter(1, now=Clock())
    allowed = sum(limiter.acquire(f"address {number}", is_known=False) == 0 for number in range(1_000))
    assert allowed == 3 + 10
    assert len(limiter._strangers.next) == 4


@pytest.mark.usefixtures("room_for_three")
def test_strangers_take_nothing_from_who_is_known() -> None:
    limiter = RateLimiter(1, now=Clock())
    for number in range(1_000):
        limiter.acquire(f"address {number}", is_known=False)
        limiter.acquire("a", is_known=False)
    assert count_allowed(limiter, "a", 100) == 10


def test_what_was_let_through_is_taken_once() -> None:
    clock = Clock()
    limiter = RateLimiter(4, now=clock)
    count_allowed(limiter, "a", 3)
    limiter.acquire("b", is_known=False)

    assert limiter.take() == [Taken("a", True, 0.75, 0.0), Taken("b", False, 0.25, 0.0)]
    assert limiter.take() == []


def test_what_others_let_through_counts_beside_what_was_let_through_since_it_was_taken() -> None:
    limiter = RateLimiter(4, now=Clock())
    count_allowed(limiter, "a", 10)
    [taken] = limiter.take()
    count_allowed(limiter, "a", 6)

    limiter.share(taken, 7.5)  # 30 requests, 10 of them here

    assert count_allowed(limiter, "a", 100) == 40 - 30 - 6


def test_what_is_shared_never_gives_back_what_was_let_through_here() -> None:
    limiter = RateLimiter(4, now=Clock())
    count_allowed(limiter, "a", 40)
    [taken] = limiter.take()

    limiter.share(taken, 0.25)

    assert count_allowed(limiter, "a", 1) == 0


def test_a_client_that_was_forgotten_meanwhile_is_not_remembered_again() -> None:
    limiter = RateLimiter(4, now=Clock())

    limiter.share(Taken("a", True, 1.0, 0.0), 10.0)

    assert count_allowed(limiter, "a", 100) == 40


def test_a_second_of_requests_of_one_client_is_shared_at_once() -> None:
    async def has_much(count: int) -> bool:
        limiter = RateLimiter(4, now=Clock())
        count_allowed(limiter, "a", count)
        count_allowed(limiter, "b", 3)
        await limiter.much_taken(timeout_s=0)
        return limiter._has_much_taken.is_set()

    assert [asyncio.run(has_much(count)) for count in (3, 4)] == [False, True]
