"""A page that is left open: its memory and what it receives stay as they are, however much happens."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import CDPSession, Page, Route

from shared.db.engine import Database
from tests.support import queue_driver
from tests.support.browsing import Weight

EPOCHS_A_MINUTE = 4 * 60  # as many events as a worker writes
STEPS = 2  # of an epoch of the factories' jobs
VALUE = 1 / 3  # with as many digits as a metric has
PARTS = 20  # of the hour
BATCH = 400  # events that come at once here

_SIMULATED_EVENTS = """
window.EventSource = class extends EventTarget {
  constructor() { super(); window.source = this; setTimeout(() => this.onopen?.()); }
  close() {}
};
window.received = 0;
window.send = (jobId, first, count) => {
  for (let epoch = first; epoch < first + count; epoch += 1) {
    const values = { loss: 1 / (epoch + 1), accuracy: 0.9, val_loss: 1 / (epoch + 1), val_accuracy: 0.9 };
    const epochs = [{ epoch, seconds: 0.25, values }];
    const data = { job_id: jobId, seq: epoch + 3, data: { epochs } };
    const message = { data: JSON.stringify(data), lastEventId: String(epoch + 3) };
    window.received += message.data.length;
    window.source.dispatchEvent(Object.assign(new Event('progress'), message));
  }
};
"""


class SimulatedJob:
    """Answers requests for metrics of a job that has recorded a number of epochs, and counts the points."""

    def __init__(self) -> None:
        self.epochs = 0
        self.sent = {"step": 0, "epoch": 0}
        self.bytes = 0

    def answer(self, route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        resolution, start = query["resolution"][0], int(query["from"][0])
        names = ["loss", "accuracy", *(["val_loss", "val_accuracy"] if resolution == "epoch" else [])]
        x = list(range(start, self.epochs * (STEPS if resolution == "step" else 1)))
        self.sent[resolution] += len(x)
        series = [{"name": name, "x": x, "y": [VALUE] * len(x)} for name in names]
        body = json.dumps({"series": series})
        self.bytes += len(body)
        route.fulfill(body=body, content_type="application/json")

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


def least(readings: list[dict[str, float]]) -> dict[str, float]:
    return {name: min(reading[name] for reading in readings) for name in readings[0]}


def test_an_hour_of_events_leaves_memory_within_a_tenth_and_as_many_bytes_a_minute(
    page: Page, database: Database
) -> None:
    attempt, job = queue_driver.running(database), SimulatedJob()
    page.add_init_script(_SIMULATED_EVENTS)
    page.route("**/metrics?*", job.answer)
    page.goto(f"/jobs/{attempt.job_id}")
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    weight = Weight(page)  # of what else the page fetches
    readings, received, fetched = [], [0], 0
    for _ in range(PARTS):
        job.run(page, attempt.job_id, minutes=60 // PARTS)
        readings.append(memory(session))
        fetched += weight.take()[0]
        received.append(job.bytes + fetched + page.evaluate("received"))

    # compiled code comes and goes, and is a tenth of so small a heap; what was replaced may still be there
    early, late = (least(part) for part in (readings[1:6], readings[-5:]))
    assert late["JSHeapUsedSize"] < 1.1 * early["JSHeapUsedSize"]
    assert late["Nodes"] <= 1.1 * early["Nodes"]
    assert late["JSEventListeners"] == early["JSEventListeners"]
    lengths: list[int] = page.evaluate(
        "() => Object.values(document.querySelector('#curves').curves[0].series)"
        ".flatMap((all) => Object.values(all)).map((series) => series.x.length)"
    )
    assert max(lengths) <= 8_192  # typed arrays are not in the heap's size
    tenth = PARTS // 10
    first_tenth, last_tenth = received[tenth], received[-1] - received[-1 - tenth]
    assert last_tenth / first_tenth <= 1.1  # the numbers of epochs and steps have more digits
    assert job.sent == {"step": job.epochs * STEPS, "epoch": 0}
