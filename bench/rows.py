"""The rows of the table that `make bench` prints: figures of Trainshed and of a peer, and a verdict.

The cases that a row compares take turns within each round of one run, so that other load on the machine
affects all of them, and a ratio is the median of the rounds' ratios. A row named `again` is the null test:
the same code measured twice, whose ratio is the machine's noise.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.timing import machine

PASS, FAIL, STATED, NULL_TEST = "PASS", "FAIL", "stated", "null test"

Samples = dict[str, list[float]]
"""The figures of each case, one per round."""


@dataclass(frozen=True)
class Row:
    """A row of the table; every field is text as it is printed.

    Attributes:
        bench: the benchmark's number in the issue that demands it, such as `B5`.
        target: what the ratio or the figure must reach.
        verdict: PASS, FAIL, `stated` (there is no target), `null test`, or why it was not measured.
    """

    bench: str
    case: str
    ours: str = ""
    peer: str = ""
    ratio: str = ""
    target: str = ""
    verdict: str = STATED


@dataclass(frozen=True)
class Unit:
    """The unit of a figure, and whether a smaller figure is a better one."""

    name: str
    smaller_is_better: bool = False

    def text(self, values: Sequence[float]) -> str:
        """Return the median and the spread of some figures."""
        if len(values) == 1:
            return f"{_digits(values[0])} {self.name}"
        return f"{_digits(median(values))} ({_digits(min(values))}..{_digits(max(values))}) {self.name}"

    def ratios(self, ours: Sequence[float], peer: Sequence[float]) -> list[float]:
        """Return how many times as good Trainshed's figures are as the peer's, round by round."""
        pairs = zip(peer, ours, strict=True) if self.smaller_is_better else zip(ours, peer, strict=True)
        return [above / below for above, below in pairs]


JOBS_PER_S = Unit("jobs/s")
MS = Unit("ms", smaller_is_better=True)
SECONDS = Unit("s", smaller_is_better=True)


def interleave(cases: Mapping[str, Callable[[], float]], rounds: int, *, warm_up: int = 1) -> Samples:
    """Measure the cases in turn, and return their figures without those of the warm-up rounds."""
    samples: Samples = {name: [] for name in cases}
    for number in range(warm_up + rounds):
        for name, run in cases.items():
            value = run()
            if number >= warm_up:
                samples[name].append(value)
    return samples


def compared(
    bench: str, case: str, unit: Unit, ours: Sequence[float], peer: Sequence[float], at_least: float | None
) -> Row:
    """Return the row of a comparison, which passes if the median ratio is at least `at_least`."""
    ratios = unit.ratios(ours, peer)
    verdict = STATED if at_least is None else judged(median(ratios) >= at_least)
    target = "" if at_least is None else f">= {at_least:g}x"
    return Row(bench, case, unit.text(ours), unit.text(peer), _spread(ratios), target, verdict)


def again(bench: str, case: str, unit: Unit, first: Sequence[float], second: Sequence[float]) -> Row:
    """Return the row of a null test: the same code, measured twice in each round."""
    ratio = _spread(unit.ratios(second, first))
    return Row(bench, f"{case}, again", unit.text(second), unit.text(first), ratio, verdict=NULL_TEST)


def limited(bench: str, case: str, unit: Unit, values: Sequence[float], below: float) -> Row:
    """Return the row of figures whose median must be below a limit."""
    verdict = judged(median(values) < below)
    return Row(bench, case, unit.text(values), target=f"< {below:g} {unit.name}", verdict=verdict)


def not_measured(bench: str, case: str, reason: str) -> Row:
    """Return the row of a case that cannot be measured here."""
    return Row(bench, case, verdict=f"not measured: {reason}")


def judged(passed: bool) -> str:
    """Return the verdict of a row with a target."""
    return PASS if passed else FAIL


def print_table(rows: Iterable[Row]) -> None:
    """Print the rows in aligned columns."""
    heading = Row("", "case", "ours", "peer", "times as good", "target", "verdict")
    lines = [list(asdict(row).values()) for row in (heading, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def run(measure: Callable[[float], Iterator[Row]]) -> None:
    """Run a benchmark module as a program: measure its rows at a scale, and print them or store them."""
    parser = argparse.ArgumentParser(description="Measure this benchmark's rows.")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="1 measures in full, 0.2 checks that it runs"
    )
    parser.add_argument("--rows", type=Path, help="append the rows to this file as lines of JSON")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # started processes end too
    print(f"{machine()}, load average {os.getloadavg()[0]:.1f}", flush=True)
    rows = list(measure(options.scale))
    print_table(rows)
    if options.rows is not None:
        with options.rows.open("a") as file:
            file.writelines(f"{json.dumps(asdict(row))}\n" for row in rows)


def _spread(ratios: Sequence[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f}) n={len(ratios)}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
