"""The time to the first paint of each page, and its weight: `python -m bench.pages [--rounds 5]`.

Pages come from a stack of their own (SQLite, Redis, the API in a process), and are shown in Chromium, each
time without a cache. For each page: the time from the request to the first contentful paint, as Chromium
reports it, median and greatest; the compressed bytes of all bodies, without those of models' weights; the
number of requests. Every median must be below 300 ms, and every page below 60 kB. Other load lengthens the
times.
"""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from playwright.sync_api import Page

from bench.timing import machine
from tests.support import every_page
from tests.support.browsing import Weight, event_loop_of, first_paint_ms, running_chromium
from tests.support.databases import migrate
from tests.support.web_stack import WebStack, running_web_stack

PAINT_MS = 300.0
BYTES = 60_000


def main() -> None:
    """Measure and print a line for each page."""
    parser = argparse.ArgumentParser(description="Measure how soon pages show something, and their weight.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{machine()}, load average {os.getloadavg()[0]:.1f}")
    print(f"{'page':28}{'first paint, ms':>18}{'bytes':>10}{'requests':>10}")
    slowest, greatest_median, heaviest = 0.0, 0.0, 0
    with _stack() as stack, running_chromium() as browser:
        addresses = every_page.fill(stack.database)
        with event_loop_of(browser):
            page = browser.new_page(base_url=stack.url, viewport={"width": 1440, "height": 900})
            weight = Weight(page, apart="/weights.bin")
            for name, address in addresses.items():
                times, size, requests = _measure(page, weight, address, rounds)
                paint = f"{median(times):.0f} /{max(times):>6.0f}"
                print(f"{name:28}{paint:>18}{size:>10,}{requests:>10}", flush=True)
                slowest, heaviest = max(slowest, *times), max(heaviest, size)
                greatest_median = max(greatest_median, median(times))
    print(f"the greatest median is {greatest_median:.0f} ms: {_verdict(greatest_median < PAINT_MS)}")
    print(f"the slowest single first paint took {slowest:.0f} ms")
    print(f"the heaviest page has {heaviest:,} bytes: {_verdict(heaviest < BYTES)}")


def _verdict(is_within: bool) -> str:
    return "PASS" if is_within else "FAIL"


def _measure(page: Page, weight: Weight, address: str, rounds: int) -> tuple[list[float], int, int]:
    """Return the times of the first contentful paint in ms, and the bytes and requests of one visit."""
    page.goto(address)  # warms the server up: templates are compiled, statements are planned
    times = []
    for _ in range(rounds):
        page.goto("about:blank")
        weight.take()
        page.goto(address)
        times.append(first_paint_ms(page))
    page.wait_for_function("() => !document.querySelector('[aria-busy=true]')")
    return times, *weight.take()


@contextmanager
def _stack() -> Iterator[WebStack]:
    with TemporaryDirectory(prefix="bench-") as folder:
        url = f"sqlite:///{Path(folder) / 'bench.db'}"
        with running_web_stack(Path(folder), lambda _: migrate(url)) as stack:
            yield stack


if __name__ == "__main__":
    main()
