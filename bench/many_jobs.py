"""A database with many jobs, as after some weeks of use: the older half finished, the newer half queued."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.db.tables import Attempt, Base, Job, JobTag, JobValue, Sweep
from shared.lifecycle import TERMINAL, JobKind, JobState
from shared.schemas import Priority
from shared.schemas.job_requests import DEFAULT_QUEUE
from shared.store import environments
from tests.support import factories, registry

FIRST_AT = datetime(2026, 1, 1, tzinfo=UTC)
"""The time of the first job's submission; the others follow one second apart."""

METRICS = ("loss", "accuracy", "val_loss", "val_accuracy", "evaluation_accuracy", "evaluation_loss")
"""The metrics of each succeeded job; a failed or running job has the first four."""

_END_WEIGHTS = {JobState.SUCCEEDED: 80, JobState.FAILED: 12, JobState.CANCELLED: 8}
_RUNNING_JOBS = 8
_WORKERS = 20
_JOBS_PER_SWEEP = 1_000  # the maximum
_WORDS = ("baseline", "wide", "deep", "augmented", "final", "again")
_JOBS_PER_INSERT = 5_000

Rows = list[dict[str, Any]]


def store_jobs(database: Database, count: int) -> None:
    """Store jobs with their tags, attempts and sweeps, and the workers that ran them."""
    for number in range(_WORKERS):
        registry.worker(database, id=f"worker-{number}")
    random = Random(1)
    with database.engine.begin() as connection:
        for start in range(0, count, _JOBS_PER_INSERT):
            for table, rows in _rows(random, range(start, min(start + _JOBS_PER_INSERT, count)), count):
                connection.execute(insert(table), rows)
    if database.engine.dialect.name == "postgresql":  # as autovacuum does within minutes
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def _rows(random: Random, numbers: range, count: int) -> Iterator[tuple[type[Base], Rows]]:
    sweeps = [_sweep(number) for number in numbers if number % _JOBS_PER_SWEEP == 0]
    jobs = [_job(random, number, _state(random, number, count)) for number in numbers]
    for number, job in zip(numbers, jobs, strict=True):
        job["sweep_id"] = sweeps[(number - numbers.start) // _JOBS_PER_SWEEP]["id"]
    yield Sweep, sweeps
    yield Job, jobs
    if values := [_value(job, name) for job in jobs if job["finished_at"] for name in job["last_values"]]:
        yield JobValue, values
    yield JobTag, [{"job_id": job["id"], "tag": tag} for job in jobs for tag in job["tags"]]
    if attempts := [_attempt(job) for job in jobs if job["attempt"]]:
        yield Attempt, attempts


def _value(job: dict[str, Any], name: str) -> dict[str, Any]:
    value = job["last_values"][name]
    copied = {column: job[column] for column in ("state", "kind", "queue", "sweep_id")}
    return {"job_id": job["id"], "name": name, "value": value, **copied}


def _sweep(number: int) -> dict[str, Any]:
    parameters = {"learning_rate": {"min": 0.0001, "max": 0.1}}
    request = {"strategy": "random", "count": _JOBS_PER_SWEEP, "parameters": parameters}
    return {"id": uuid7(), "name": None, "request": request, "created_at": _created_at(number)}


def _created_at(number: int) -> datetime:
    return FIRST_AT + timedelta(seconds=number)


def _state(random: Random, number: int, count: int) -> JobState:
    if number < count // 2:
        return random.choices(list(_END_WEIGHTS), list(_END_WEIGHTS.values()))[0]
    return JobState.RUNNING if number < count // 2 + _RUNNING_JOBS else JobState.QUEUED


def _job(random: Random, number: int, state: JobState) -> dict[str, Any]:
    words = [random.choice(_WORDS), str(number), *(["needle"] if number % 20_000 == 7 else [])]
    queue = DEFAULT_QUEUE if state == JobState.QUEUED else random.choice((DEFAULT_QUEUE, "gpu"))
    return {
        "id": uuid7(),
        "kind": JobKind.TRAIN,
        "state": state,
        "spec": factories.make_spec(learning_rate=random.uniform(0.0001, 0.1)).model_dump(mode="json"),
        "name": " ".join(words),
        "tags": [tag for tag, share in (("tenth", 10), ("rare", 10_000)) if number % share == 0],
        "queue": "rare" if number % 20_000 == 3 else queue,
        "priority": random.choice(list(Priority)),
        "version": 5,
        "failures": 0,
        "lost_attempts": 0,
        "max_attempts": 3,
        "scheduled_at": _created_at(number),
        "created_at": _created_at(number),
        **_progress(random, number, state),
    }


def _progress(random: Random, number: int, state: JobState) -> dict[str, Any]:
    created_at, ended = _created_at(number), state in TERMINAL
    ran = state != JobState.QUEUED and not (state == JobState.CANCELLED and number % 2)
    measured = ran and state != JobState.CANCELLED
    names = METRICS if state == JobState.SUCCEEDED else METRICS[:4] if measured else ()
    duration_s = random.expovariate(1 / 10) if ran and ended else None
    return {
        "model_id": UUID(int=number) if state == JobState.SUCCEEDED else None,
        "attempt": int(ran),
        "lease_owner": "worker-1/x" if state == JobState.RUNNING else None,
        "lease_expires_at": created_at + timedelta(days=9_999) if state == JobState.RUNNING else None,
        "started_at": created_at + timedelta(seconds=random.expovariate(1)) if ran else None,
        "finished_at": created_at + timedelta(seconds=duration_s or 0) if ended else None,
        "duration_s": duration_s,
        "next_epoch": 3 if measured else 0,
        "last_values": {name: random.random() for name in names},
        "error_code": "internal" if state == JobState.FAILED else None,
    }


def _attempt(job: dict[str, Any]) -> dict[str, Any]:
    ended = job["finished_at"]
    return {
        "job_id": job["id"],
        "number": 1,
        "worker": f"worker-{job['id'].int % _WORKERS}",
        "device": "CPU",
        "environment": environments.key({}),
        "started_at": job["started_at"],
        "finished_at": ended,
        "outcome": str(job["state"]) if ended else None,
    }
