"""Backoff between the attempts of a failed job."""

from random import Random

BACKOFF_BASE_S = 1.0
BACKOFF_CAP_S = 300.0
OUTAGE_CAP_S = 60.0
"""The longest delay while a shared resource is unavailable, so that jobs go on soon after it is back."""
JITTER = 0.25
MAX_DELAY_S = BACKOFF_CAP_S * (1 + JITTER)


def retry_delay_s(failures: int, rng: Random, cap_s: float = BACKOFF_CAP_S) -> float:
    """Return the seconds to wait after a number of failed attempts, 1 or more.

    The delay doubles with each failure up to `cap_s`. It is then varied by up to `JITTER` (a fraction
    of it) either way, so that jobs that failed together are not retried together.
    """
    # the exponent is bounded, so that no number of failures overflows a float
    delay = min(BACKOFF_BASE_S * 2.0 ** min(failures - 1, 30), cap_s)
    return delay * rng.uniform(1 - JITTER, 1 + JITTER)
