"""A page that is left open: its memory and what it receives stay as they are, however much happens."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import CDPSession, Page, Route

from shared.db.engine import Database
from tests.support import factories

EPOCHS_A_MINUTE = 4 * 60  # as many events as a worker writes
STEPS = 2  # of an epoch of the factories' jobs
BATCH = 400  # events that come at once here

_SIMULATED_EVENTS = """
window.EventSource = class extends EventTarget {
  constructor() { super(); window.source = this; setTimeout(() => this.onopen?.()); }
  close() {}
};
window.send = (jobId, first, count) => {
  for (let epoch = first; epoch < first + count; epoch += 1) {
    const metrics = { loss: 1 / (epoch + 1), accuracy: 0.9, val_loss: 1 / (epoch + 1), val_accuracy: 0.9 };
    const data = { job_id: jobId, seq: epoch + 3, data: { epochs: [{ epoch, seconds: 0.25, ...metrics }] } };
    const message = { data: JSON.stringify(data), lastEventId: String(epoch + 3) };
    window.source.dispatchEvent(Object.assign(new Event('epochs_recorded'), message));
  }
};
"""


class SimulatedJob:
    """Answers requests for metrics of a job that has recorded a number of epochs, and counts the points."""

    def __init__(self) -> None:
        self.epochs = 0
        self.sent = {"step": 0, "epoch": 0}

    def answer(self, route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        resolution, start = query["resolution"][0], int(query["from"][0])
        names = ["loss", "accuracy", *(["val_loss", "val_accuracy"] if resolution == "epoch" else [])]
        x = list(range(start, self.epochs * (STEPS if resolution == "step" else 1)))
        self.sent[resolution] += len(x)
        series = [{"name": name, "x": x, "y": [0.5] * len(x)} for name in names]
        route.fulfill(body=json.dumps({"series": series}), content_type="application/json")

    def run(self, page: Page, job_id: object, minutes: int) -> None:
        """Let minutes of events come, and wait until the curves have them."""
        end = self.epochs + minutes * EPOCHS_A_MINUTE
        while self.epochs < end:
            first, self.epochs = self.epochs, min(end, self.epochs + BATCH)
            page.evaluate("(events) => send(...events)", [str(job_id), first, self.epochs - first])
        page.wait_for_function(
            "(last) => document.querySelector('#curves').curves[0].last('step') === last",
            arg=self.epochs * STEPS - 1,
        )


def memory(session: CDPSession) -> dict[str, float]:
    session.send("HeapProfiler.collectGarbage")
    metrics: list[dict[str, Any]] = session.send("Performance.getMetrics")["metrics"]
    return {metric["name"]: metric["value"] for metric in metrics}


def test_an_hour_of_events_leaves_memory_within_a_tenth_and_repeats_no_point(
    page: Page, database: Database
) -> None:
    attempt, job = factories.running(database), SimulatedJob()
    page.add_init_script(_SIMULATED_EVENTS)
    page.route("**/metrics?*", job.answer)
    page.goto(f"/jobs/{attempt.job_id}")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    readings = []
    for _ in range(12):
        job.run(page, attempt.job_id, minutes=5)
        readings.append(memory(session))

    # compiled code comes and goes, and is a tenth of so small a heap: compare the least of five readings
    least = [min(reading["JSHeapUsedSize"] for reading in part) for part in (readings[1:6], readings[-5:])]
    assert least[1] < 1.1 * least[0]
    assert readings[-1]["Nodes"] <= 1.1 * readings[1]["Nodes"]
    assert readings[-1]["JSEventListeners"] == readings[1]["JSEventListeners"]
    lengths: list[int] = page.evaluate(
        "() => Object.values(document.querySelector('#curves').curves[0].series)"
        ".flatMap((all) => Object.values(all)).map((series) => series.x.length)"
    )
    assert max(lengths) <= 8_192  # typed arrays are not in the heap's size
    assert job.sent == {"step": job.epochs * STEPS, "epoch": 0}
