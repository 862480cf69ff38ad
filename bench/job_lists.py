"""Benchmark of reads from 100,000 jobs over HTTP, on SQLite and on PostgreSQL.

    python -m bench.job_lists [--jobs 100000] [--rounds 100]

Lists with each filter and order, counts, and the other reads that span many jobs. The newer half of the jobs
is queued, and every thousand jobs are a sweep. The limit is a p95 of 50 ms; the exit status is 1 if it is
exceeded.
"""

import argparse
import sys
from functools import partial
from typing import Any

import httpx

from bench.databases import Times, measure_api
from bench.many_jobs import store_jobs
from bench.timing import report, times_ms

_LIMIT_MS = 50.0

_LISTS: dict[str, dict[str, Any]] = {
    "newest first": {},
    "200 per page": {"limit": 200},
    "oldest first": {"sort": "created_at"},
    "longest first": {"sort": "-duration"},
    "shortest first": {"sort": "duration"},
    "best val_accuracy first": {"sort": "-val_accuracy"},
    "worst val_accuracy first": {"sort": "val_accuracy"},
    "best evaluation first": {"sort": "-evaluation_accuracy"},
    "worst evaluation first": {"sort": "evaluation_accuracy"},
    "state of half the jobs": {"state": "queued"},
    "state of older jobs": {"state": "failed"},
    "rare state": {"state": "running"},
    "two states": {"state": ["queued", "running"]},
    "two states, best first": {"state": ["failed", "running"], "sort": "-val_accuracy"},
    "kind of all jobs": {"kind": "train"},
    "kind of no job": {"kind": "evaluate"},
    "queue of most jobs": {"queue": "default"},
    "queue of most jobs, best first": {"queue": "default", "sort": "-val_accuracy"},
    "rare queue": {"queue": "rare"},
    "tag of a tenth of the jobs": {"tag": "tenth"},
    "tag of a tenth, best first": {"tag": "tenth", "sort": "-val_accuracy"},
    "rare tag": {"tag": "rare"},
    "rare tag, best first": {"tag": "rare", "sort": "-val_accuracy"},
    "one worker": {"worker": "worker-1"},
    "one worker, longest first": {"worker": "worker-1", "sort": "-duration"},
    "common word in the name": {"q": "baseline"},
    "rare word in the name": {"q": "NEEDLE"},
    "word in no name": {"q": "nothing has this"},
    "created within an hour": {
        "created_after": "2026-01-01T05:00:00Z",
        "created_before": "2026-01-01T06:00:00Z",
    },
    "created within an hour, best first": {
        "created_after": "2026-01-01T05:00:00Z",
        "created_before": "2026-01-01T06:00:00Z",
        "sort": "-val_accuracy",
    },
    "five filters": {
        "state": "succeeded",
        "kind": "train",
        "queue": "default",
        "q": "deep",
        "tag": "tenth",
    },
}


def main() -> None:
    """Run the benchmark and print its table."""
    options = _options()
    print(f"{options.jobs:,} jobs, half of them queued; {options.rounds} requests each, over HTTP")
    times = measure_api(
        lambda database: store_jobs(database, options.jobs),
        lambda api, _: _measure(api, options.rounds),
    )
    sys.exit(not report(times, percent=95, limit_ms=_LIMIT_MS))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reads from many jobs.")
    parser.add_argument(
        "--jobs", type=int, default=100_000, help="at least 80,000, for a cursor 200 pages deep"
    )
    parser.add_argument("--rounds", type=int, default=100)
    return parser.parse_args()


def _measure(api: httpx.Client, rounds: int) -> Times:
    cases = _cases(api).items()
    return {case: times_ms(partial(_get, api, path, **query), rounds) for case, (path, query) in cases}


def _cases(api: httpx.Client) -> dict[str, tuple[str, dict[str, Any]]]:
    best = {"sort": "-val_accuracy"}
    sweep = _get(api, "/v1/sweeps", limit=1).json()["data"][0]["id"]
    last = _get(api, "/v1/jobs", state="queued", limit=1).json()["data"][0]["id"]
    return {
        **{case: ("/v1/jobs", query) for case, query in _LISTS.items()},
        "page 200": ("/v1/jobs", {"cursor": _cursor_after(api, 200, "-created_at")}),
        "page 200, best first": ("/v1/jobs", best | {"cursor": _cursor_after(api, 200, **best)}),
        "counts": ("/v1/jobs/counts", {}),
        "last job of the queue": (f"/v1/jobs/{last}", {}),
        "queues": ("/v1/queues", {}),
        "autoscaling": ("/v1/autoscaling", {}),
        "Prometheus metrics": ("/metrics", {}),
        "sweeps": ("/v1/sweeps", {}),
        "sweeps by loss": ("/v1/sweeps", {"metric": "loss"}),
        "sweep of 1,000 jobs": (f"/v1/sweeps/{sweep}", {}),
        "web page of the jobs": ("/jobs", {}),
        "web page of the failed jobs": ("/jobs", {"state": "failed"}),
        "web page of a job": (f"/jobs/{last}", {}),
        "overview": ("/", {}),
    }


def _get(api: httpx.Client, path: str, **query: Any) -> httpx.Response:
    return api.get(path, params=query).raise_for_status()


def _cursor_after(api: httpx.Client, pages: int, sort: str) -> str:
    cursor: dict[str, str] = {}
    for _ in range(pages):
        page = _get(api, "/v1/jobs", sort=sort, limit=200, **cursor).json()
        cursor = {"cursor": page["next_cursor"]}
    return cursor["cursor"]


if __name__ == "__main__":
    main()
