import pytest

from api.http import rate_limit
from api.http.rate_limit import RateLimiter


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def passed(limiter: RateLimiter, holder: str, tries: int) -> int:
    return sum(limiter.take(holder) == 0 for _ in range(tries))


def test_ten_seconds_worth_of_requests_may_come_at_once() -> None:
    assert passed(RateLimiter(4, now=Clock()), "a", 100) == 40


def test_afterwards_they_pass_at_the_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(4, now=clock)
    passed(limiter, "a", 100)
    assert limiter.take("a") == pytest.approx(0.25)
    clock.seconds += 1.01
    assert passed(limiter, "a", 100) == 4


def test_holders_do_not_share_a_limit() -> None:
    limiter = RateLimiter(1, now=Clock())
    passed(limiter, "a", 100)
    assert passed(limiter, "b", 100) == 10


def test_a_rate_of_nothing_is_no_limit() -> None:
    assert passed(RateLimiter(0, now=Clock()), "a", 1_000) == 1_000


def test_a_slow_rate_lets_the_first_request_pass() -> None:
    clock = Clock()
    limiter = RateLimiter(0.01, now=clock)
    assert passed(limiter, "a", 10) == 1
    clock.seconds += 101
    assert passed(limiter, "a", 10) == 1


def test_holders_that_owe_nothing_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "_MANY", 3)
    clock = Clock()
    limiter = RateLimiter(1, now=clock)
    for holder in "abc":
        limiter.take(holder)
    clock.seconds += 2
    limiter.take("d")
    assert set(limiter._paid_until) == {"d"}
