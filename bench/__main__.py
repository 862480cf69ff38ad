"""Runs every benchmark that has a target, and prints one table: `python -m bench [--scale 1] [NAME ...]`.

A benchmark that misses its target prints FAIL and does not fail the command: the machine may be busy, and a
build must not depend on its load. The last line has the number of FAILs; the exit status is 1 only if a
benchmark could not be run to its end. Each runs in a process of its own, so that none inherits another's
memory.

Not included, because they take long, have no peer or need a browser: `bench.chaos`, `bench.frames`,
`bench.job_lists`, `bench.load`, `bench.long_poll`, `bench.metrics_series`, `bench.moving`, `bench.pages`,
`bench.predict` and `bench.statements`, each of which runs alone.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from bench.rows import FAIL, Row, not_measured, print_table
from bench.timing import machine

_MODULES = (
    *("train", "gpu_slots", "start", "latency", "accept", "drain", "poll", "watchers", "sprite"),
    *("metrics_written", "curves", "growth", "memory", "fair", "footprint", "snapshot"),
)


def main() -> None:
    """Run the benchmarks and print their table."""
    parser = argparse.ArgumentParser(description="Run the benchmarks and print one table.")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="1 measures in full, 0.2 checks that it runs"
    )
    parser.add_argument("modules", nargs="*", metavar="NAME", help=f"by default all: {', '.join(_MODULES)}")
    options = parser.parse_args()
    started_at, load = perf_counter(), os.getloadavg()[0]
    rows = [row for name in options.modules or _MODULES for row in _rows(name, options.scale)]
    print_table(rows)
    minutes = (perf_counter() - started_at) / 60
    print(
        f"{machine()}, load average {load:.1f} at the start, scale {options.scale:g}, {minutes:.1f} minutes"
    )
    print(f"{sum(row.verdict == FAIL for row in rows)} FAIL")
    sys.exit(any("ended with status" in row.verdict for row in rows))


def _rows(name: str, scale: float) -> list[Row]:
    print(f"-- {name}", flush=True)
    with TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "rows"
        file.touch()
        command = [sys.executable, "-m", f"bench.{name}", "--scale", str(scale), "--rows", str(file)]
        status = subprocess.run(command).returncode
        rows = [Row(**json.loads(line)) for line in file.read_text().splitlines()]
    return [*rows, not_measured("", name, f"ended with status {status}")] if status else rows


if __name__ == "__main__":
    main()
