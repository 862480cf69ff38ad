"""Benchmark of submission: jobs that the API accepts a second, compared with Celery's `delay`.

    python -m bench.accept [--rounds 7] [--jobs 400]

Ours over HTTP, each job durable before its response: one by one from 16 keep-alive connections, and by a
sweep of 1,000. The peer is a loop of `delay` on the same Redis with the same JSON, which is not durable. The
cases take turns within a round; "again" is the same code as the peer's: its ratio is the machine's noise.
"""

import argparse
import json
from collections import defaultdict
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
from bench.servers import serving
from bench.timing import machine, percentile
from shared.settings import Settings
from tests.support.databases import migrate
from tests.support.servers import running_redis

_CONNECTIONS = 16
_SWEEP_JOBS = 1_000
_PEER = "Celery delay loop"
_SPEC = {"dataset": "digits", "epochs": 3, "seed": 1}

Cases = dict[str, Callable[[], float]]


def main() -> None:
    """Run the benchmark and print its tables."""
    options = _options()
    print(machine())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        redis = stack.enter_context(running_redis()).url
        for kind, url in stack.enter_context(database_urls(folder)).items():
            settings = Settings(data_dir=folder, database_url=migrate(url), redis_url=redis, rate_limit=0)
            with serving(settings) as api:
                latencies_ms: list[float] = []
                cases = _cases(api, redis, options.jobs, latencies_ms)
                _report(kind, _measure(cases, options.rounds))
            p99 = percentile(latencies_ms, 99)
            print(f"{'one by one: ms, p50 / p99':34}{median(latencies_ms):.1f} / {p99:.1f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Jobs accepted a second, compared with Celery's delay.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=400, help="jobs of a round that are submitted one by one")
    return parser.parse_args()


def _cases(api: str, redis: str, jobs: int, latencies_ms: list[float]) -> Cases:
    """Return functions that submit jobs and return how many were accepted a second."""
    celery = Celery("peer", broker=redis.replace("unix://", "redis+socket://", 1))
    numbers = count()

    @celery.task(ignore_result=True)
    def train(_spec: dict[str, object]) -> None:
        """Never run: no worker consumes the messages."""

    def delay() -> float:
        return _rate(jobs, lambda: [train.delay(_SPEC) for _ in range(jobs)])

    def one_by_one() -> float:
        # a queue for each round: the position in a queue, which a response has, costs more in a long one
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

    return {_PEER: delay, "one by one, 16 connections": one_by_one, "a sweep of 1,000": sweep, "again": delay}


def _post(connection: HTTPConnection, path: str, body: Mapping[str, object]) -> None:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    assert response.status == 202, text


def _rate(jobs: int, submit: Callable[[], object]) -> float:
    started_at = perf_counter()
    submit()
    return jobs / (perf_counter() - started_at)


def _measure(cases: Cases, rounds: int) -> Iterator[tuple[str, list[float], list[float]]]:
    """Yield each case's jobs a second and their ratios to the peer's in the same round."""
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds + 1):
        for name, run in cases.items():
            rates[name].append(run())
    for name, values in rates.items():
        measured, peer = values[1:], rates[_PEER][1:]  # without the first round, which warms up
        yield name, measured, [ours / theirs for ours, theirs in zip(measured, peer, strict=True)]


def _report(kind: str, results: Iterator[tuple[str, list[float], list[float]]]) -> None:
    print(f"{kind:34}{'jobs/s, median (min..max)':30}times {_PEER}")
    for name, rates, ratios in results:
        rate = f"{median(rates):6,.0f} ({min(rates):,.0f}..{max(rates):,.0f})"
        print(f"{name:34}{rate:30}{median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})")


if __name__ == "__main__":
    main()
