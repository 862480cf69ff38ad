"""Response times of requests made one after another, and their comparison with a limit."""

import gc
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from statistics import quantiles
from time import perf_counter

_WARM_UP_CALLS = 3  # for the connection, the plans of statements, and lazily loaded modules


def machine() -> str:
    """Return a description of this machine."""
    return f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def times_ms(request: Callable[[], object], rounds: int) -> list[float]:
    """Return the milliseconds of each of `rounds` calls, made after a few warm-up calls."""
    gc.collect()
    gc.freeze()  # objects left from filling the database must not slow the collections during the requests
    times = []
    for _ in range(_WARM_UP_CALLS + rounds):
        started_at = perf_counter()
        request()
        times.append(1_000 * (perf_counter() - started_at))
    return times[_WARM_UP_CALLS:]


def percentile(times: Sequence[float], percent: int) -> float:
    """Return the time that `percent` % of the times do not exceed."""
    return quantiles(times, n=100, method="inclusive")[percent - 1]


def report(columns: Mapping[str, Mapping[str, Sequence[float]]], *, percent: int, limit_ms: float) -> bool:
    """Print a table and a verdict; return whether every case is within the limit.

    Args:
        columns: the times of each case, by column name and case.
        percent: the percentile that is compared with the limit.
        limit_ms: the limit.
    """
    worst = {case: 0.0 for column in columns.values() for case in column}
    print(f"{'ms: p50 / p95':36}" + "".join(f"{name:>18}" for name in columns))
    for case in worst:
        cells = [_cell(column.get(case)) for column in columns.values()]
        worst[case] = max(percentile(column[case], percent) for column in columns.values() if case in column)
        print(
            f"{case:36}" + "".join(f"{times:>18}" for times in cells) + f"  {_verdict(worst[case], limit_ms)}"
        )
    greatest = max(worst.values())
    verdict = _verdict(greatest, limit_ms)
    print(f"the greatest p{percent} is {greatest:.1f} ms, the limit {limit_ms:g}: {verdict}")
    print(f"{machine()}, load average {os.getloadavg()[0]:.1f}")
    return greatest < limit_ms


def _cell(times: Sequence[float] | None) -> str:
    return "" if times is None else f"{percentile(times, 50):.1f} / {percentile(times, 95):.1f}"


def _verdict(ms: float, limit_ms: float) -> str:
    return "PASS" if ms < limit_ms else "FAIL"
