"""B5: jobs that the API accepts a second, compared with Celery's `delay`: `python -m bench.accept`.

Trainshed gets jobs over HTTP, and each job is durable before its response: one by one from 16 keep-alive
connections, and by a sweep of 1,000. The peer is a loop of `delay` on the same Redis with the same JSON,
which is not durable.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from urllib.parse import urlsplit

from celery import Celery

from bench.databases import database_urls
from bench.rows import JOBS_PER_S, Row, again, compared, interleave, run
from bench.servers import serving
from bench.timing import percentile
from shared.settings import Settings
from tests.support.databases import migrate
from tests.support.servers import running_redis

_CONNECTIONS = 16
_SWEEP_JOBS = 1_000
_PEER, _ONE_BY_ONE, _SWEEP, _AGAIN = "Celery delay loop", "one by one", "sweep", "again"
_LEAST = {_ONE_BY_ONE: 1.5, _SWEEP: 5.0}
_SPEC = {"dataset": "digits", "epochs": 3, "seed": 1}

Cases = dict[str, Callable[[], float]]


def measure(scale: float) -> Iterator[Row]:
    """Measure submissions to an API on each kind of database."""
    rounds, jobs = max(2, round(7 * scale)), 400
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        redis = stack.enter_context(running_redis()).url
        for kind, url in stack.enter_context(database_urls(folder)).items():
            settings = Settings(data_dir=folder, database_url=migrate(url), redis_url=redis, rate_limit=0)
            latencies_ms: list[float] = []
            with serving(settings) as api:
                samples = interleave(_cases(api, redis, jobs, latencies_ms), rounds)
            p50, p99 = median(latencies_ms), percentile(latencies_ms, 99)
            for name, least in _LEAST.items():
                case = f"{kind}, {name} / {_PEER}"
                yield compared("B5", case, JOBS_PER_S, samples[name], samples[_PEER], least)
            yield Row(
                "B5", f"{kind}, one by one, {_CONNECTIONS} at a time", f"p50 {p50:.1f}, p99 {p99:.1f} ms"
            )
            yield again("B5", f"{kind}, {_PEER}", JOBS_PER_S, samples[_PEER], samples[_AGAIN])


def _cases(api: str, redis: str, jobs: int, latencies_ms: list[float]) -> Cases:
    """Return functions that submit jobs and return the number accepted per second."""
    celery = Celery("peer", broker=redis.replace("unix://", "redis+socket://", 1))
    numbers = count()

    @celery.task(ignore_result=True)
    def train(_spec: dict[str, object]) -> None:
        """Do nothing; no worker consumes the messages."""

    def delay() -> float:
        return _rate(jobs, lambda: [train.delay(_SPEC) for _ in range(jobs)])

    def one_by_one() -> float:
        # a new queue for each round: a response has the position in the queue, which costs more in a long one
        body = {"kind": "train", "queue": f"round-{next(numbers)}", "spec": _SPEC}

        def submit(connection: HTTPConnection) -> None:
            for _ in range(jobs // _CONNECTIONS):
                started_at = perf_counter()
                _post(connection, "/v1/jobs", body)
                latencies_ms.append(1_000 * (perf_counter() - started_at))

        with ThreadPoolExecutor(_CONNECTIONS) as threads:
            connections = [HTTPConnection(urlsplit(api).netloc) for _ in range(_CONNECTIONS)]
            rate = _rate(jobs, lambda: list(threads.map(submit, connections)))
        for connection in connections:
            connection.close()
        return rate

    def sweep() -> float:
        parameters = {"learning_rate": {"min": 0.001, "max": 0.1}}
        body = {"strategy": "random", "count": _SWEEP_JOBS, "sweep_seed": 1, "parameters": parameters}
        body |= {"queue": f"round-{next(numbers)}", "spec": _SPEC}
        return _rate(_SWEEP_JOBS, lambda: _post(HTTPConnection(urlsplit(api).netloc), "/v1/sweeps", body))

    return {_PEER: delay, _ONE_BY_ONE: one_by_one, _SWEEP: sweep, _AGAIN: delay}


def _post(connection: HTTPConnection, path: str, body: Mapping[str, object]) -> None:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    assert response.status == 202, text


def _rate(jobs: int, submit: Callable[[], object]) -> float:
    started_at = perf_counter()
    submit()
    return jobs / (perf_counter() - started_at)


if __name__ == "__main__":
    run(measure)
