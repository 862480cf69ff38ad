"""B4: milliseconds from the submission of a job that does nothing to its result: `python -m bench.latency`.

Ours over REST, as the Python client does it: a POST, then a long poll until the job's end; each step is
durable. The peers are Celery, RQ and Dramatiq on the same Redis, each with its own warm worker and with
its own way to wait for a result; none is durable. All have one process that works.
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
_MOST_MS = 15.0
_OURS, _AGAIN = "ours", "again"
_BODY = json.dumps({"kind": "train", "spec": no_op.SPEC.model_dump(mode="json")})


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
                executor=no_op.NAME,
                slots=1,
            )
            yield from _measure(kind, settings, rounds, jobs)


def _measure(kind: str, settings: Settings, rounds: int, jobs: int) -> Iterator[Row]:
    with ExitStack() as stack:
        api = stack.enter_context(serving(settings))
        stack.enter_context(running_worker(settings))
        connection, all_ms = HTTPConnection(urlsplit(api).netloc), list[float]()

        def ours() -> float:
            times_ms = [_submit_and_wait(connection) for _ in range(jobs)]
            all_ms.extend(times_ms)
            return median(times_ms)

        cases = {_OURS: ours}
        for name, module in _PEERS.items() if peer.installed() else ():
            # a Redis of its own: each of them expects to be alone
            socket = str(stack.enter_context(running_redis()).socket)
            running = stack.enter_context(Peer(module, socket, *(["1"] if name == "Celery" else [])))
            cases[name] = partial(_median_ms, running, jobs)
        samples = interleave({**cases, _AGAIN: ours}, rounds)
    yield limited("B4", f"{kind}, p50", MS, samples[_OURS], _MOST_MS)
    yield Row("B4", f"{kind}, p99", f"{percentile(all_ms, 99):.1f} ms")
    for name in list(cases)[1:]:
        yield compared("B4", f"{kind}, p50 / {name}", MS, samples[_OURS], samples[name], 1.0)
    yield again("B4", f"{kind}, p50", MS, samples[_OURS], samples[_AGAIN])


def _median_ms(running: Peer, jobs: int) -> float:
    times_ms: list[float] = running.ask("latencies", count=jobs)
    return median(times_ms)


def _submit_and_wait(connection: HTTPConnection) -> float:
    """Return the milliseconds from the submission of a job to the response that says that it succeeded."""
    started_at = perf_counter()
    connection.request("POST", "/v1/jobs", _BODY, {"Content-Type": "application/json"})
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
