"""How long the reads of 100,000 jobs take, over HTTP, on SQLite and on PostgreSQL.

    python -m bench.job_lists [--jobs 100000] [--rounds 100]

Lists with each filter and order, counts, and what else reads many jobs. The newer half of the jobs wait, and
every thousand are a sweep. The limit is a p95 of 50 ms; the exit status says whether it was kept.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from api.app import create_app
from bench.many_jobs import fill
from bench.timing import report, times_ms
from shared.db.engine import Database
from shared.settings import Settings
from tests.support.servers import running_app, running_postgres

_LIMIT_MS = 50.0

_LISTS: dict[str, dict[str, Any]] = {
    "newest page": {},
    "200 a page": {"limit": 200},
    "oldest page": {"sort": "created_at"},
    "longest": {"sort": "-duration"},
    "shortest": {"sort": "duration"},
    "best validation": {"sort": "-val_accuracy"},
    "worst validation": {"sort": "val_accuracy"},
    "best evaluation": {"sort": "-evaluation_accuracy"},
    "worst evaluation": {"sort": "evaluation_accuracy"},
    "a state that half have": {"state": "queued"},
    "an older state": {"state": "failed"},
    "a rare state": {"state": "running"},
    "two states": {"state": ["queued", "running"]},
    "two states, best": {"state": ["failed", "running"], "sort": "-val_accuracy"},
    "the kind that all have": {"kind": "train"},
    "the kind that none has": {"kind": "evaluate"},
    "the queue of most": {"queue": "default"},
    "the queue of most, best": {"queue": "default", "sort": "-val_accuracy"},
    "a rare queue": {"queue": "rare"},
    "a tag of a tenth": {"tag": "tenth"},
    "a tag of a tenth, best": {"tag": "tenth", "sort": "-val_accuracy"},
    "a rare tag": {"tag": "rare"},
    "a rare tag, best": {"tag": "rare", "sort": "-val_accuracy"},
    "a worker": {"worker": "worker-1"},
    "a worker, longest": {"worker": "worker-1", "sort": "-duration"},
    "a common word": {"q": "baseline"},
    "a rare word": {"q": "NEEDLE"},
    "no such word": {"q": "nothing has this"},
    "an hour": {"created_after": "2026-01-01T05:00:00Z", "created_before": "2026-01-01T06:00:00Z"},
    "an hour, best": {
        "created_after": "2026-01-01T05:00:00Z",
        "created_before": "2026-01-01T06:00:00Z",
        "sort": "-val_accuracy",
    },
    "filters together": {
        "state": "succeeded",
        "kind": "train",
        "queue": "default",
        "q": "deep",
        "tag": "tenth",
    },
}


def main() -> None:
    """Print the table."""
    options = _options()
    print(f"{options.jobs:,} jobs, half of them queued; {options.rounds} requests each, over HTTP")
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        columns["SQLite"] = _measure(f"sqlite:///{folder}/jobs.db", Path(folder), options)
        with running_postgres() as server:
            server.execute("CREATE DATABASE jobs")
            columns["PostgreSQL"] = _measure(server.url("jobs"), Path(folder), options)
    sys.exit(not report(columns, percent=95, limit_ms=_LIMIT_MS))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reads of very many jobs.")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=100)
    return parser.parse_args()


def _measure(url: str, folder: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    database = Database(url)
    database.migrate()
    fill(database, options.jobs)
    database.dispose()
    settings = Settings(data_dir=folder, database_url=url, rate_limit=0)
    with running_app(create_app(settings)) as api:
        return {
            case: times_ms(partial(_read, api, path, **query), options.rounds)
            for case, (path, query) in _cases(api).items()
        }


def _cases(api: httpx.Client) -> dict[str, tuple[str, dict[str, Any]]]:
    best = {"sort": "-val_accuracy"}
    sweep = _read(api, "/v1/sweeps", limit=1).json()["data"][0]["id"]
    last = _read(api, "/v1/jobs", state="queued", limit=1).json()["data"][0]["id"]
    return {
        **{case: ("/v1/jobs", query) for case, query in _LISTS.items()},
        "page 200": ("/v1/jobs", {"cursor": _deep_cursor(api, 200, "-created_at")}),
        "page 200, best": ("/v1/jobs", best | {"cursor": _deep_cursor(api, 200, **best)}),
        "counts": ("/v1/jobs/counts", {}),
        "the last job of the queue": (f"/v1/jobs/{last}", {}),
        "queues": ("/v1/queues", {}),
        "autoscaling": ("/v1/autoscaling", {}),
        "for Prometheus": ("/metrics", {}),
        "sweeps": ("/v1/sweeps", {}),
        "sweeps, by loss": ("/v1/sweeps", {"metric": "loss"}),
        "a sweep of 1,000": (f"/v1/sweeps/{sweep}", {}),
    }


def _read(api: httpx.Client, path: str, **query: Any) -> httpx.Response:
    return api.get(path, params=query).raise_for_status()


def _deep_cursor(api: httpx.Client, pages: int, sort: str) -> str:
    cursor: dict[str, str] = {}
    for _ in range(pages):
        page = _read(api, "/v1/jobs", sort=sort, limit=200, **cursor).json()
        cursor = {"cursor": page["next_cursor"]}
    return cursor["cursor"]


if __name__ == "__main__":
    main()
