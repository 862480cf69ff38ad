"""Rows for the tables of 0.1.0: some in each table."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from struct import pack
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, MetaData, Table, insert, select

from tests.support import old_schema
from tests.support.databases import open_database

Rows = list[dict[str, Any]]

_AT = datetime(2026, 11, 28, 12, 0, 0, 123_456, tzinfo=UTC)
_STATES = ("succeeded", "failed", "queued", "running", "cancelled")
_EPOCHS = 2
JOBS = 23
"""Jobs of a small database."""


def create(url: str, jobs: int = JOBS) -> str:
    """Create a database with the tables of 0.1.0, and so many jobs; return its URL."""
    with open_database(url) as database, database.engine.begin() as connection:
        old_schema.create(connection)
        fill(connection, jobs)
    return url


def fill(connection: Connection, jobs: int) -> None:
    """Insert so many jobs, in every state, with all that can belong to them, and what stands beside jobs."""
    tables = MetaData()
    tables.reflect(connection)
    rows: dict[str, Rows] = {}
    for name, row in [*_beside_jobs(), *(each for number in range(jobs) for each in _of_job(number, jobs))]:
        rows.setdefault(name, []).append(row)
    for table in tables.sorted_tables:
        # a job may repeat one with a greater id
        for _, alike in groupby(reversed(rows.get(table.name, [])), key=tuple):
            connection.execute(insert(table), list(alike))


def contents(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of all tables, sorted; ids are digits, and bytes hexadecimal."""
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        return {table.name: _rows(connection, table) for table in tables.sorted_tables}


def _rows(connection: Connection, table: Table) -> list[dict[str, Any]]:
    rows = [
        {name: _plain(value) for name, value in row.items()}
        for row in connection.execute(select(table)).mappings()
    ]
    return sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))


def _plain(value: object) -> object:
    if isinstance(value, UUID | bytes):
        return value.hex if isinstance(value, UUID) else value.hex()
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def _id(kind: int, number: int) -> str:
    """Return the digits of an id; those of one kind are in the order of their numbers."""
    return UUID(int=(0x01A20000_00007000_8000 << 48) | (number << 16) | kind).hex


def _of_job(number: int, jobs: int) -> Iterator[tuple[str, dict[str, Any]]]:
    job_id, state = _id(1, number), _STATES[number % len(_STATES)]
    of_job = {"job_id": job_id}
    yield "jobs", _job(number, jobs, state)
    yield "job_tags", {**of_job, "tag": "ünïcode"}
    yield "job_events", {**of_job, **_event(1, "submitted", {"by": "Ada"}), "position": 10 * number}
    yield "job_dependencies", {**of_job, "after_id": _id(1, (number + 1) % jobs)}
    yield "idempotency_keys", _key(number, job_id)
    if state in ("queued", "cancelled"):
        return
    phase = _event(2, "phase_entered", {"phase": "training"})
    yield "job_events", {**of_job, **phase, "position": 10 * number + 1}
    recorded = _event(3, "epochs_recorded", {"epochs": [_values(each) for each in range(_EPOCHS)]})
    yield "job_events", {**of_job, **recorded, "position": 10 * number + 2}
    # the versions of the first were stored before it had its data
    attempt = {"worker": "w", "device": "CPU", "started_at": _AT + timedelta(seconds=number)}
    lost = {"versions": {"python": "3", "keras": "3"}, "finished_at": _AT, "outcome": "lost"}
    yield "attempts", {**of_job, "number": 1, **attempt, **lost}
    running = {"versions": {"keras": "3", "python": "3", "dataset_sha256": "f" * 64}}
    yield "attempts", {**of_job, "number": 2, **attempt, **running, "finished_at": None, "outcome": None}
    yield "job_logs", _line(job_id)
    for epoch in range(_EPOCHS):
        yield "epochs", {**of_job, **_epoch(epoch)}
        yield "epoch_weights", {**of_job, "epoch": epoch, "content": b"\x00\x01\x02\xff"}
    if state == "running":
        yield "checkpoints", {**of_job, "next_epoch": 1, "state": b"\x80state", "sha256": "e" * 64}
        asked = _yield(job_id, number, jobs)
        yield "yields", asked
        released = _event(4, "released", {"yielded_to": str(UUID(asked["urgent_id"]))})
        yield "job_events", {**of_job, **released, "position": 10 * number + 3}
    if state == "succeeded":
        yield from _results(number, job_id)


_SHARES = ("address 127.0.0.1", "sweep 1", None)


def _job(number: int, jobs: int, state: str) -> dict[str, Any]:
    at = _AT + timedelta(seconds=number)
    is_running, has_ended = state == "running", state not in ("queued", "running")
    numbers = {"attempt": 2, "failures": 0, "crashes": 1, "max_attempts": 3, "version": 1, "next_epoch": 1}
    return {
        **{"id": _id(1, number), "kind": "train", "state": state, "spec": {"epochs": 3, "seed": number}},
        **{"name": f"job {number}", "tags": ["ünïcode"], "queue": "default"},
        "priority": ("normal", "low", "high", "urgent")[number % 4],
        # a clock that lags behind has given the repeated job the greater id
        **{"retry_of": _id(1, number + 1) if number % 7 == 0 and number + 1 < jobs else None},
        **{"model_id": _id(1, number) if state == "succeeded" else None, "sweep_id": _id(3, 0)},
        **{"share": _SHARES[number % 3], "api_key_id": _id(4, 0) if number % 2 else None},
        **{"place": number / 3, "waits_for": 0, "has_dependents": True, "duration_s": 0.1 + number},
        **{"phase": "training" if is_running else None, "lease_owner": "w/1/2" if is_running else None},
        **{"lease_expires_at": at if is_running else None, "scheduled_at": at, "created_at": at},
        **{"started_at": at, "finished_at": at if has_ended else None},
        **{"error_code": "internal" if state == "failed" else None},
        **({} if state == "queued" else {"loss": 1 / 3, "val_accuracy": 0.1 * (number % 10)}),
        **({"evaluation_accuracy": 0.5} if state == "succeeded" else {}),
        **numbers,
    }


def _event(seq: int, type_: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"seq": seq, "at": _AT, "type": type_, "attempt": 0, "data": data}


def _key(number: int, job_id: str) -> dict[str, Any]:
    return {"key": f"key {number}", "request_sha256": "a" * 64, "job_id": job_id, "created_at": _AT}


def _line(job_id: str) -> dict[str, Any]:
    at = {"job_id": job_id, "attempt": 2, "number": 1, "at": _AT}
    return {**at, "level": "info", "message": "line", "fields": {"epoch": 1}}


def _values(epoch: int) -> dict[str, Any]:
    values = {"loss": 1 / 3, "accuracy": 0.9, "val_loss": 5e-324, "val_accuracy": 0.91, "seconds": 1.5}
    return {"epoch": epoch, **values}


def _epoch(epoch: int) -> dict[str, Any]:
    batches = {"batch_loss": pack("<2d", 0.1, 1 / 3), "batch_accuracy": pack("<2d", 0.2, 2 / 3)}
    return {**_values(epoch), "attempt": 2, **batches}


def _yield(job_id: str, number: int, jobs: int) -> dict[str, Any]:
    asked = {"victim_id": job_id, "victim_attempt": 1, "urgent_id": _id(1, (number + 1) % jobs)}
    return {**asked, "requested_at": _AT, "yielded_at": _AT}


def _results(number: int, job_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    model_id, of_job = _id(1, number), {"job_id": job_id}
    model = {
        "dataset": "mnist",
        "spec": {"epochs": 3, "model": "cnn"},
        "parameters": 5_994,
        "layers": [{"name": "conv"}],
    }
    model |= {"weights_sha256": "b" * 64, "accuracy": 0.97, "created_at": _AT, "description": "ünï"}
    yield "models", {"id": model_id, **of_job, **model}
    for format_ in ("keras", "onnx"):
        content = format_.encode() * 50
        yield "model_files", {"model_id": model_id, "format": format_, "sha256": "c" * 64, "content": content}
    if number == 0:
        yield "model_aliases", {"alias": "champion", "model_id": model_id}
    evaluation = {"model_id": model_id, "dataset": "mnist", "size": 2, "loss": 0.1, "accuracy": 0.5}
    # those of before 0.1.0 have no predictions
    predictions = bytes(range(90)) if number % 2 else None
    yield "evaluations", {**of_job, **evaluation, "rejected": 0, "predictions": predictions}
    counts = {"count": 2, "correct": 1, "rejected": 0, "accuracy": 0.5}
    yield "class_results", {**of_job, "label": 3, "name": "3", **counts, "precision": None}
    for predicted in (3, 5):
        yield "confusion", {**of_job, "label": 3, "predicted": predicted, "count": 1}
    yield "misclassified", {**of_job, "index": 1, "label": 3, "predicted": 5, "probability": 0.6}


def _beside_jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    created = {"created_at": _AT}
    yield "sweeps", {"id": _id(3, 0), "name": "rates", "request": {"strategy": "grid"}, **created}
    for number, scope in enumerate(("submit", "admin")):
        key = {"id": _id(4, number), "name": f"Ada's to {scope}", "sha256": f"{number}" * 64}
        yield "api_keys", {**key, "scope": scope, **created}
    yield "webhooks", {"id": _id(5, 0), "url": "https://a", "secret": "s", "states": ["failed"], **created}
    ended = {"webhook_id": _id(5, 0), "state": "failed", "tags": ["a"], **created, "next_at": _AT}
    yield "webhook_deliveries", {"id": _id(6, 0), **ended, "job_id": _id(1, 1), "attempts": 0}
    yield (
        "webhook_deliveries",
        {"id": _id(6, 1), **ended, "job_id": _id(1, 0), "attempts": 0, "accuracy": 1 / 3},
    )
    worker = {"host": "h", "pid": 1, "queues": ["default"], "devices": ["CPU"], "slots": 1, "versions": {}}
    yield "workers", {"id": "w", **worker, "state": "stopped", "started_at": _AT, "heartbeat_at": _AT}
    yield "paused_queues", {"name": "both", "paused_at": _AT}
    yield "paused_queues", {"name": "paused", "paused_at": _AT}
    yield "queue_limits", {"queue": "both", "max_running": 2}
    yield "queue_limits", {"queue": "limited", "max_running": 3}
    yield "queue_clocks", {"queue": "default", "priority": "low", "place": 1.5, "served": 0.5, "last": 2.5}
    yield "share_clocks", {"queue": "default", "priority": "low", "share": "s", "next": 0.1}
