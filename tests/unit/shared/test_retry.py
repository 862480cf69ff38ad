"""The backoff between the attempts of a failed job."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from shared.retry import BACKOFF_BASE_S, BACKOFF_CAP_S, JITTER, MAX_DELAY_S, OUTAGE_CAP_S, retry_delay_s


class _NoJitter(Random):
    """Always draws the middle of the range."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def test_delay_doubles_with_each_failure_up_to_the_cap() -> None:
    delays = [retry_delay_s(failures, _NoJitter()) for failures in range(1, 12)]
    assert delays[:9] == [BACKOFF_BASE_S * 2**n for n in range(9)]
    assert delays[9:] == [BACKOFF_CAP_S, BACKOFF_CAP_S]


def test_delays_in_an_outage_have_a_cap_of_their_own() -> None:
    assert retry_delay_s(30, _NoJitter(), OUTAGE_CAP_S) == OUTAGE_CAP_S < BACKOFF_CAP_S


@given(failures=st.integers(1, 10**9), seed=st.integers(0, 2**32))
def test_delay_varies_by_at_most_the_jitter(failures: int, seed: int) -> None:
    middle = retry_delay_s(failures, _NoJitter())
    assert middle * (1 - JITTER) <= retry_delay_s(failures, Random(seed)) <= middle * (1 + JITTER)
    assert middle * (1 + JITTER) <= MAX_DELAY_S


def test_jobs_that_failed_together_are_retried_at_different_times() -> None:
    rng = Random(1)
    delays = {retry_delay_s(1, rng) for _ in range(100)}
    assert len(delays) == 100
