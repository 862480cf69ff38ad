"""Smoothness of a chart whose five curves with a history of 100,000 points grow for 30 seconds.

    python -m bench.frames [--seconds 30] [--plotly PATH/plotly.min.js]

For each case: the longest tasks of the page's main thread, from a trace of Chromium's, by CPU time and by
wall time; while a task runs no frame is made, so no task may take 50 ms. With `--plotly`, plotly.js (from the
wheel `plotly`, file `package_data/plotly.min.js`) draws the same curves. Other load lengthens wall times.
"""

import argparse
import os
from pathlib import Path

from playwright.sync_api import Page, Route

from bench.timing import machine
from tests.support.browsing import event_loop_of, running_chromium
from tests.support.frame_times import MainThread, traced
from tests.support.paths import ROOT

SITE = "http://charts.test"
FRAME_MS = 50.0
CURVES = 5

_STATIC = ROOT / "api/web/static"
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_PAGE = '<!doctype html><link rel="stylesheet" href="/style.css"><main></main>'
_PLOTLY = """
async ({ points, curves, ms }) => {
  const plot = document.querySelector('main').appendChild(document.createElement('div'));
  Object.assign(plot.style, { width: '1200px', height: '240px' });
  const value = (i, x) => 2 * Math.exp(-3 * x / points) + 0.1 * i + 0.1 * Math.sin(x * 12.9898 + i);
  const range = (from, count) => Array.from({ length: count }, (_, k) => from + k);
  const traces = range(0, curves).map((i) => {
    const x = range(0, points);
    return { x, y: x.map((place) => value(i, place)), mode: 'lines', type: 'scatter' };
  });
  await Plotly.newPlot(plot, traces);
  window.live = () => new Promise((resolve) => {
    let [next, drawn] = [points, 0];
    const timer = setInterval(() => {
      const x = range(0, curves).map(() => range(next, 11));
      const y = x.map((places, i) => places.map((place) => value(i, place)));
      Plotly.extendTraces(plot, { x, y }, range(0, curves));
      [next, drawn] = [next + 11, drawn + 1];
    }, 100);
    setTimeout(() => { clearInterval(timer); resolve(drawn); }, ms);
  });
}
"""


def main() -> None:
    """Measure and print a line for each case."""
    parser = argparse.ArgumentParser(description="Measure how smooth charts are.")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--plotly", type=Path, help="a plotly.min.js to compare with")
    options = parser.parse_args()
    print(f"{machine()}, load average {os.getloadavg()[0]:.1f}")
    with running_chromium() as browser, event_loop_of(browser):
        for points in (20_000, 100_000):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            _report(f"ours, {CURVES} curves of {points:,} points", *_ours(page, points, options.seconds))
        if options.plotly:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            result = _plotly(page, options.plotly, 20_000, options.seconds)
            _report(f"plotly, {CURVES} curves of {20_000:,} points", *result)


def _ours(page: Page, points: int, seconds: float) -> tuple[int, MainThread]:
    _open(page)
    page.evaluate((ROOT / "tests/support/charts.js").read_text())
    page.evaluate("(options) => openChart(options)", {"folder": SITE, "points": points, "curves": CURVES})
    with traced(page) as thread:
        drawn = page.evaluate(f"runLive({seconds * 1000})")
    return drawn, thread


def _plotly(page: Page, script: Path, points: int, seconds: float) -> tuple[int, MainThread]:
    _open(page)
    page.add_script_tag(path=script)
    page.evaluate(_PLOTLY, {"points": points, "curves": CURVES, "ms": seconds * 1000})
    with traced(page) as thread:
        drawn = page.evaluate("live()")
    return drawn, thread


def _open(page: Page) -> None:
    page.set_default_timeout(120_000)
    page.route(f"{SITE}/**", _serve)
    page.goto(SITE)


def _serve(route: Route) -> None:
    file = _STATIC / route.request.url.rsplit("/", 1)[-1]
    if file.is_file():
        route.fulfill(body=file.read_bytes(), content_type=_TYPES[file.suffix])
    else:
        route.fulfill(body=_PAGE, content_type="text/html")


def _report(case: str, drawn: int, thread: MainThread) -> None:
    cpu, wall = sorted(thread.cpu_ms), sorted(thread.wall_ms)
    verdict = "PASS" if cpu[-1] < FRAME_MS else "FAIL"
    over = sum(time >= FRAME_MS for time in cpu)
    print(
        f"{case}: drawn {drawn} times; longest task {cpu[-1]:.0f} ms CPU, {wall[-1]:.0f} ms wall; "
        f"{over} of at least {FRAME_MS:.0f} ms CPU: {verdict}",
        flush=True,
    )


if __name__ == "__main__":
    main()
