"""How long requests take: measured one after another, and held against a limit."""

import gc
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from statistics import quantiles
from time import perf_counter

_WARM_UP = 3  # the connection, the statements' plans, what is loaded once


def times_ms(ask: Callable[[], object], rounds: int) -> list[float]:
    """Milliseconds of each of so many calls, after a few that do not count."""
    gc.collect()
    gc.freeze()  # what filled the database is in this process too, and no garbage of the API's
    times = []
    for _ in range(_WARM_UP + rounds):
        began = perf_counter()
        ask()
        times.append(1_000 * (perf_counter() - began))
    return times[_WARM_UP:]


def percentile(times: Sequence[float], percent: int) -> float:
    """What so many in a hundred of the times do not exceed."""
    return quantiles(times, n=100, method="inclusive")[percent - 1]


def report(columns: Mapping[str, Mapping[str, Sequence[float]]], *, percent: int, limit_ms: float) -> bool:
    """Print a table and a verdict; says whether every time keeps the limit.

    Args:
        columns: the times of each case, by the column's name and the case's.
        percent: the percentile that is held against the limit.
    """
    worst = {case: 0.0 for column in columns.values() for case in column}
    print(f"{'ms: p50 / p95':36}" + "".join(f"{name:>18}" for name in columns))
    for case in worst:
        shown = [_shown(column.get(case)) for column in columns.values()]
        worst[case] = max(percentile(column[case], percent) for column in columns.values() if case in column)
        print(
            f"{case:36}" + "".join(f"{times:>18}" for times in shown) + f"  {_verdict(worst[case], limit_ms)}"
        )
    greatest = max(worst.values())
    verdict = _verdict(greatest, limit_ms)
    print(f"the greatest p{percent} is {greatest:.1f} ms, the limit {limit_ms:g}: {verdict}")
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, ", end="")
    print(f"load average {os.getloadavg()[0]:.1f}")
    return greatest < limit_ms


def _shown(times: Sequence[float] | None) -> str:
    return "" if times is None else f"{percentile(times, 50):.1f} / {percentile(times, 95):.1f}"


def _verdict(ms: float, limit_ms: float) -> str:
    return "PASS" if ms < limit_ms else "FAIL"
