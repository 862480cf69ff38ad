"""B4: milliseconds from the submission of a job that does nothing to its result: `python -m bench.latency`.

Trainshed is used over REST, as by the Python client: a POST, then a long poll until the job's end; each step
is durable. One job keeps nothing, as the peers' do; the other keeps a model and an evaluation of the
codelab's shape. The peers are Celery, RQ and Dramatiq on the same Redis, each with its own warm worker and
with its own way to wait for a result; none is durable. Each case has one worker process.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from urllib.parse import urlsplit

from bench import no_op, peer
from bench.databases import database_urls
from bench.peer import Peer
from bench.rows import MS, Row, again, compared, interleave, limited, not_measured, run
from bench.servers import running_worker, serving
from bench.timing import percentile
from shared.lifecycle import TERMINAL, JobState
from shared.settings import Settings
from tests.support.databases import migrate
from tests.support.servers import running_redis

_PEERS = {"Celery": "celery_app", "RQ": "rq_app", "Dramatiq": "dramatiq_app"}
_MOST_MS = 12.0
_OURS, _AGAIN, _CODELAB = "ours", "again", "ours, codelab-shaped"
_QUEUES = {_OURS: ("nothing-kept", no_op.NOTHING_KEPT), _CODELAB: ("codelab-shaped", no_op.NAME)}
"""The queue of each case's jobs, and the executor of the worker that serves the queue."""


def measure(scale: float) -> Iterator[Row]:
    """Measure the p50 of each side, in rounds of some jobs one after another."""
    rounds, jobs = max(2, round(5 * scale)), max(20, round(100 * scale))
    if not peer.installed():
        yield not_measured("B4", "peers", peer.MISSING)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        redis = stack.enter_context(running_redis())
        for kind, url in stack.enter_context(database_urls(folder)).items():
            settings = Settings(
                data_dir=folder,
                database_url=migrate(url),
                redis_url=redis.url,
                rate_limit=0,
                slots=1,
            )
            yield from _measure(kind, settings, rounds, jobs)


def _measure(kind: str, settings: Settings, rounds: int, jobs: int) -> Iterator[Row]:
    with ExitStack() as stack:
        connection = HTTPConnection(urlsplit(stack.enter_context(serving(settings))).netloc)
        for queue, executor in _QUEUES.values():
            serves = {"queues": (queue,), "executor": executor}
            stack.enter_context(running_worker(settings.model_copy(update=serves)))
        all_ms: dict[str, list[float]] = {name: [] for name in _QUEUES}

        def ours(name: str) -> float:
            times_ms = [_submit_and_wait(connection, _QUEUES[name][0]) for _ in range(jobs)]
            all_ms[name].extend(times_ms)
            return median(times_ms)

        cases = {name: partial(ours, name) for name in _QUEUES}
        peers = _PEERS if peer.installed() else {}
        for name, module in peers.items():
            # a Redis of its own: each peer expects to be its only user
            socket = str(stack.enter_context(running_redis()).socket)
            running = stack.enter_context(Peer(module, socket, *(["1"] if name == "Celery" else [])))
            cases[name] = partial(_median_ms, running, jobs)
        samples = interleave({**cases, _AGAIN: partial(ours, _OURS)}, rounds)
    for name in _QUEUES:
        yield limited("B4", f"{kind}, {name}, p50", MS, samples[name], _MOST_MS)
        yield Row("B4", f"{kind}, {name}, p99", f"{percentile(all_ms[name], 99):.1f} ms")
    for name in peers:
        yield compared("B4", f"{kind}, p50 / {name}", MS, samples[_OURS], samples[name], 1.0)
    yield again("B4", f"{kind}, p50", MS, samples[_OURS], samples[_AGAIN])


def _median_ms(running: Peer, jobs: int) -> float:
    times_ms: list[float] = running.ask("latencies", count=jobs)
    return median(times_ms)


def _submit_and_wait(connection: HTTPConnection, queue: str) -> float:
    """Return the milliseconds from the submission of a job to the response that says that it succeeded."""
    body = json.dumps({"kind": "train", "spec": no_op.SPEC.model_dump(mode="json"), "queue": queue})
    started_at = perf_counter()
    connection.request("POST", "/v1/jobs", body, {"Content-Type": "application/json"})
    job = _read(connection)
    while job["state"] not in TERMINAL:
        connection.request("GET", f"/v1/jobs/{job['id']}?wait=30&until=end")
        job = _read(connection)
    assert job["state"] == JobState.SUCCEEDED, job
    return 1_000 * (perf_counter() - started_at)


def _read(connection: HTTPConnection) -> dict[str, str]:
    response = connection.getresponse()
    text = response.read()
    assert response.status in (200, 202), text
    job: dict[str, str] = json.loads(text)
    return job


if __name__ == "__main__":
    run(measure)
