"""B13: the memory of the API, of a worker's parent and of a slot, before and after 500 jobs.

    python -m bench.memory

The jobs train a small model with TensorFlow, and are submitted over REST. Memory is the resident set, shared
pages included. A process may grow while it warms up, in the first 50 jobs, and by at most 5 % after them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import httpx
import psutil

from bench.databases import sqlite_settings
from bench.rows import Row, judged, run
from bench.servers import running_server, running_worker
from tests.support.waiting import wait_until

_WARM_UP_JOBS = 50
_JOBS = 500
_MOST_GROWTH = 0.05
_TIMEOUT_S = 600.0
_SPEC = {"dataset": "digits", "epochs": 1, "train_size": 100, "validation_size": 20, "evaluation_size": 20}


def measure(scale: float) -> Iterator[Row]:
    """Measure a stack on SQLite with one slot."""
    with ExitStack() as stack:
        settings = stack.enter_context(sqlite_settings(slots=1))
        server = stack.enter_context(running_server("api.app:create_app", settings))
        parent = psutil.Process(stack.enter_context(running_worker(settings)))
        # the other child is the resource tracker of multiprocessing
        slot = max(parent.children(), key=lambda child: child.memory_info().rss)
        processes = {"API": psutil.Process(server.pid), "worker's parent": parent, "slot": slot}
        measured = [_megabytes(processes)]
        jobs = max(2 * _WARM_UP_JOBS, round(_JOBS * scale))
        with httpx.Client(base_url=server.url) as api:
            for count in (_WARM_UP_JOBS, jobs - _WARM_UP_JOBS):
                _run_jobs(api, count)
                measured.append(_megabytes(processes))
    for name in processes:
        ready, warm, end = (megabytes[name] for megabytes in measured)
        growth = end / warm - 1
        figures = f"{ready:.0f} MB ready, {warm:.0f} MB after {_WARM_UP_JOBS} jobs, {end:.0f} MB after {jobs}"
        yield Row(
            "B13",
            name,
            figures,
            "",
            f"{growth:+.1%}",
            f"< {_MOST_GROWTH:+.0%}",
            judged(growth < _MOST_GROWTH),
        )


def _megabytes(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    return {name: process.memory_info().rss / 2**20 for name, process in processes.items()}


def _run_jobs(api: httpx.Client, count: int) -> None:
    parameters = {"learning_rate": {"min": 0.001, "max": 0.1}}
    body = {"strategy": "random", "count": count, "sweep_seed": 1, "parameters": parameters, "spec": _SPEC}
    api.post("/v1/sweeps", json=body).raise_for_status()
    wait_until(_finished(api), f"{count} jobs are finished", _TIMEOUT_S)


def _finished(api: httpx.Client) -> Callable[[], bool]:
    def check() -> bool:
        unfinished = api.get("/v1/jobs", params={"state": ["queued", "running"], "limit": 1})
        return not unfinished.raise_for_status().json()["data"]

    return check


if __name__ == "__main__":
    run(measure)
