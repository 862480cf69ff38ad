"""Whether a failed attempt is worth another, and when. Pure decisions."""

from random import Random

BACKOFF_BASE_S = 1.0
BACKOFF_CAP_S = 300.0
JITTER = 0.25


def retry_delay_s(failures: int, rng: Random) -> float:
    """Seconds to wait after the given number of failed attempts (1 or more).

    Doubles with each failure up to `BACKOFF_CAP_S`, then is spread by plus or minus `JITTER`, so that jobs
    that failed together do not come back together.
    """
    # the exponent is bounded so that no number of failures overflows a float
    delay = min(BACKOFF_BASE_S * 2.0 ** min(failures - 1, 30), BACKOFF_CAP_S)
    return delay * rng.uniform(1 - JITTER, 1 + JITTER)
