"""How long pages, filters and counts of 100,000 jobs take, over HTTP, on SQLite and on PostgreSQL.

`python -m bench.job_lists [jobs]` prints a table of milliseconds. The target is a p95 below 50 ms.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median, quantiles
from time import perf_counter
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import insert
from uuid_utils.compat import uuid7

from api.app import create_app
from shared.db import Database
from shared.lifecycle import TERMINAL, JobState
from shared.schemas import Priority
from shared.settings import Settings
from shared.tables import Attempt, Base, Job, JobTag
from tests.factories import make_spec
from tests.servers import running_app, running_postgres

_JOBS = 100_000
_ROUNDS = 40
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_SHARES = {
    JobState.SUCCEEDED: 80,
    JobState.FAILED: 10,
    JobState.CANCELLED: 7,
    JobState.QUEUED: 3,
}
_RUNNING = 8  # so few run at a time
_WORDS = ("baseline", "wide", "deep", "augmented", "final", "again")

_CASES: dict[str, dict[str, Any]] = {
    "newest page": {},
    "200 a page": {"limit": 200},
    "oldest page": {"sort": "created_at"},
    "longest": {"sort": "-duration"},
    "best validation": {"sort": "-val_accuracy"},
    "worst evaluation": {"sort": "evaluation_accuracy"},
    "one state in five": {"state": "failed"},
    "a rare state": {"state": "running"},
    "two states": {"state": ["queued", "running"]},
    "two states, best": {"state": ["failed", "running"], "sort": "-val_accuracy"},
    "kind": {"kind": "evaluate"},
    "half the jobs' queue": {"queue": "default"},
    "half the jobs' queue, best": {"queue": "default", "sort": "-val_accuracy"},
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
    "a day": {"created_after": "2026-01-02T00:00:00Z", "created_before": "2026-01-02T01:00:00Z"},
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
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else _JOBS
    print(f"{jobs:,} jobs, {_ROUNDS} requests each, milliseconds: p50 / p95")
    columns = {}
    with tempfile.TemporaryDirectory() as folder:
        columns["SQLite"] = _measure(f"sqlite:///{folder}/jobs.db", Path(folder), jobs)
        with running_postgres() as server:
            server.execute("CREATE DATABASE jobs")
            columns["PostgreSQL"] = _measure(server.url("jobs"), Path(folder), jobs)
    print(f"{'':28}" + "".join(f"{name:>18}" for name in columns))
    for case in columns["SQLite"]:
        print(f"{case:28}" + "".join(f"{_shown(column[case]):>18}" for column in columns.values()))
    worst = max(_p95(times) for column in columns.values() for times in column.values())
    print(f"the greatest p95 is {worst:.1f} ms")
    print(f"the load average is {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _shown(times: list[float]) -> str:
    return f"{median(times):.1f} / {_p95(times):.1f}"


def _p95(times: list[float]) -> float:
    return quantiles(times, n=20)[-1]


def _measure(url: str, folder: Path, jobs: int) -> dict[str, list[float]]:
    database = Database(url)
    database.migrate()
    _fill(database, jobs)
    database.dispose()
    settings = Settings(data_dir=folder, database_url=url, rate_limit=0)
    with running_app(create_app(settings)) as api:
        cases: dict[str, tuple[str, dict[str, Any]]] = {
            case: ("/v1/jobs", parameters) for case, parameters in _CASES.items()
        }
        cases["page 200"] = ("/v1/jobs", {"cursor": _deep_cursor(api, 200, "-created_at")})
        best = {"sort": "-val_accuracy"}
        cases["page 200, best"] = ("/v1/jobs", best | {"cursor": _deep_cursor(api, 200, **best)})
        cases["counts"] = ("/v1/jobs/counts", {})
        cases["queues"] = ("/v1/queues", {})
        cases["a queued job"] = (f"/v1/jobs/{_queued_last(api)}", {})
        return {case: _times(api, *request) for case, request in cases.items()}


def _times(api: httpx.Client, path: str, parameters: dict[str, Any]) -> list[float]:
    times = []
    for _ in range(_ROUNDS + 2):
        began = perf_counter()
        api.get(path, params=parameters).raise_for_status()
        times.append(1_000 * (perf_counter() - began))
    return times[2:]  # without the connection, and the statement's first plan


def _deep_cursor(api: httpx.Client, pages: int, sort: str) -> str:
    cursor: dict[str, str] = {}
    for _ in range(pages):
        page = api.get("/v1/jobs", params={"sort": sort, "limit": 200, **cursor}).raise_for_status().json()
        cursor = {"cursor": page["next_cursor"]}
    return cursor["cursor"]


def _queued_last(api: httpx.Client) -> str:
    page = api.get("/v1/jobs", params={"state": "queued", "limit": 1}).raise_for_status().json()
    return str(page["data"][0]["id"])


def _fill(database: Database, jobs: int) -> None:
    random = Random(1)
    with database.engine.begin() as connection:
        for start in range(0, jobs, 5_000):
            made = [_job(random, number, jobs) for number in range(start, min(start + 5_000, jobs))]
            for table, rows in _rows(made):
                connection.execute(insert(table), rows)
    if database.engine.dialect.name == "postgresql":  # what autovacuum does within minutes
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def _rows(made: list[tuple[dict[str, Any], list[str]]]) -> Iterator[tuple[type[Base], list[dict[str, Any]]]]:
    yield Job, [job for job, _ in made]
    yield JobTag, [{"job_id": job["id"], "tag": tag} for job, tags in made for tag in tags]
    yield Attempt, [_attempt(job) for job, _ in made if job["attempt"]]


def _job(random: Random, number: int, jobs: int) -> tuple[dict[str, Any], list[str]]:
    state = random.choices(list(_SHARES), list(_SHARES.values()))[0]
    if number >= jobs - _RUNNING:
        state = JobState.RUNNING
    created_at = _FIRST + timedelta(seconds=number)
    ran = state != JobState.QUEUED and not (state == JobState.CANCELLED and number % 2)
    measured = ran and state in (JobState.SUCCEEDED, JobState.RUNNING, JobState.FAILED)
    duration_s = random.expovariate(1 / 10) if ran and state in TERMINAL else None
    tags = [tag for tag, share in (("tenth", 10), ("rare", 10_000)) if number % share == 0]
    words = [random.choice(_WORDS), str(number), *(["needle"] if number % 20_000 == 7 else [])]
    values: dict[str, Any] = {
        "id": uuid7(),
        "kind": "train",
        "state": state,
        "spec": make_spec().model_dump(mode="json"),
        "name": " ".join(words),
        "tags": tags,
        "queue": "rare" if number % 20_000 == 3 else random.choice(("default", "gpu")),
        "priority": random.choice(list(Priority)),
        "model_id": UUID(int=number) if state == JobState.SUCCEEDED else None,
        "version": 5,
        "attempt": int(ran),
        "failures": 0,
        "crashes": 0,
        "max_attempts": 3,
        "lease_owner": "worker-1/x" if state == JobState.RUNNING else None,
        "lease_expires_at": created_at + timedelta(days=999) if state == JobState.RUNNING else None,
        "scheduled_at": created_at,
        "created_at": created_at,
        "started_at": created_at if ran else None,
        "finished_at": created_at + timedelta(seconds=duration_s or 0) if state in TERMINAL else None,
        "duration_s": duration_s,
        "next_epoch": 3 if measured else 0,
        "loss": 0.5 if measured else None,
        "accuracy": random.random() if measured else None,
        "val_loss": 0.5 if measured else None,
        "val_accuracy": random.random() if measured else None,
        "evaluation_accuracy": random.random() if state == JobState.SUCCEEDED else None,
        "error_code": "internal" if state == JobState.FAILED else None,
    }
    return values, tags


def _attempt(job: dict[str, Any]) -> dict[str, Any]:
    ended = job["finished_at"]
    return {
        "job_id": job["id"],
        "number": 1,
        "worker": f"worker-{job['id'].int % 20}",
        "device": "CPU",
        "versions": {},
        "started_at": job["created_at"],
        "finished_at": ended,
        "outcome": str(job["state"]) if ended else None,
    }


if __name__ == "__main__":
    main()
