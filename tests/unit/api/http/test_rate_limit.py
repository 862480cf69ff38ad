import pytest

from api.http import rate_limit
from api.http.rate_limit import RateLimiter


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
