"""The rows of 0.2.0 that those of 0.1.0 become, as `tests.support.old_rows.contents` has both."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np

from shared.db.tables import Base
from shared.formats.epochs import pack_steps
from shared.lifecycle import TERMINAL
from shared.store import environments

Row = dict[str, Any]
_HEAD_STARTS_S = {"urgent": 86_400.0, "high": 3_600.0, "normal": 0.0, "low": -3_600.0}
Contents = dict[str, list[Row]]

_METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")
_LAST = (*_METRICS, "evaluation_accuracy")
_NEW_NAMES = {
    **{"share": "tenant", "crashes": "lost_attempts", "waits_for": "pending_predecessors"},
    **{"yielded_to": "preempted_by", "yielded_at": "preempted_at"},
}
_OF_JOB = ("state", "kind", "queue", "sweep_id")
# columns that 0.1.0 has not, in tables that are copied otherwise
_NEW: dict[str, Row] = {
    "idempotency_keys": {"sweep_id": None},
    "job_dependencies": {"depth": None},
    "webhooks": dict.fromkeys(("paused_at", "previous_secret", "previous_secret_until")),
    "workers": {"boot_id": None},
}


def check(before: Contents, after: Contents) -> None:
    """Check that all rows of a database of `old_rows` are there, and in queues what stood in two tables."""
    assert all(before.values())
    both, paused = [row["paused_at"] for row in before["paused_queues"]]
    expected = {
        **before,
        **moved(before),
        "queues": [
            {"name": "both", "paused_at": both, "max_running": 2},
            {"name": "limited", "paused_at": None, "max_running": 3},
            {"name": "paused", "paused_at": paused, "max_running": None},
        ],
        "version_floor": [{"id": 1, "version": "0.2.0"}],
        "alembic_version": [{"version_num": "0028"}],
    }
    for name, rows in after.items():
        assert _sorted(rows) == _sorted(expected[name]), name
    assert set(Base.metadata.tables) == after.keys() - {"alembic_version"}


def _sorted(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))


def moved(old: Contents) -> Contents:
    """Return the rows of the tables that are not copied as they are, each table's in any order."""
    return {
        **{table: [{**row, **_NEW[table]} for row in old[table]] for table in _NEW},
        "ended_predecessors": [],
        "api_keys": [{**row, "team": None, "may_urgent": row["scope"] == "admin"} for row in old["api_keys"]],
        "jobs": [_job(row, old) for row in old["jobs"]],
        "job_values": [
            {"job_id": row["id"], "name": name, "value": value, **{each: row[each] for each in _OF_JOB}}
            for row in old["jobs"]
            if row["state"] in TERMINAL
            for name, value in _last_values(row, old).items()
        ],
        "tenants": [],
        "preemptions": list(map(_renamed, old["yields"])),
        "job_events": [{**row, **_event(row)} for row in old["job_events"]],
        "epochs": list(map(_epoch, old["epochs"])),
        "attempts": [
            {
                **_without(row, "versions"),
                "environment": environments.key(_without(row["versions"], "dataset_sha256")).hex(),
                "dataset_sha256": row["versions"].get("dataset_sha256"),
                "boot_id": None,
            }
            for row in old["attempts"]
        ],
        "environments": list(_environments(old)),
        "models": [
            {
                **_without(row, "job_id", "dataset", "spec", "parameters", "accuracy"),
                "kind": row["spec"]["model"],
            }
            for row in old["models"]
        ],
        "artifacts": [
            {
                **{"job_id": row["model_id"], "sha256": row["sha256"], "content": row["content"]},
                **{"name": f"model.{row['format']}", "role": "model", "size": len(row["content"]) // 2},
                "media_type": "application/octet-stream",
            }
            for row in old["model_files"]
        ],
        "results": [
            {
                **_without(row, "model_id", "rejected", "loss", "accuracy", "predictions"),
                **{"type": "classification", "body": row["predictions"]},
                "values": {"loss": row["loss"], "accuracy": row["accuracy"]},
            }
            for row in old["evaluations"]
        ],
        "webhook_deliveries": [
            {
                **_without(row, "accuracy", "evaluation_accuracy"),
                "last_values": _present(row, ("accuracy", "evaluation_accuracy")) or None,
            }
            for row in old["webhook_deliveries"]
        ],
    }


def _job(row: Row, old: Contents) -> Row:
    return {
        **_renamed(_without(row, *_LAST)),
        **{"last_values": _last_values(row, old), "traceparent": None},
        **{"tenant": _tenant(row), "head_start_s": _HEAD_STARTS_S[row["priority"]]},
    }


def _tenant(row: Row) -> str:
    """A sweep was one of its own, and its key is now."""
    if row["share"] is None or not row["share"].startswith("sweep "):
        return row["share"] or ""
    return "" if row["api_key_id"] is None else f"key {UUID(row['api_key_id'])}"


def _last_values(row: Row, old: Contents) -> dict[str, float]:
    losses = {each["job_id"]: {"evaluation_loss": each["loss"]} for each in old["evaluations"]}
    return {**_present(row, _LAST), **losses.get(row["id"], {})}


def _event(row: Row) -> Row:
    at, data = f"{row['at']:%Y-%m-%dT%H:%M:%S.%fZ}", row["data"]
    if row["type"] == "phase_entered":
        return {"type": "progress", "data": {"phases": [{**data, "at": at}], "epochs": []}}
    if row["type"] == "epochs_recorded":
        epochs = [
            {
                **{name: each[name] for name in ("epoch", "seconds")},
                "values": _present(each, _METRICS),
                "at": at,
            }
            for each in data["epochs"]
        ]
        return {"type": "progress", "data": {"phases": [], "epochs": epochs}}
    return {"data": _renamed(data)}


def _epoch(row: Row) -> Row:
    batches = {
        name: np.frombuffer(bytes.fromhex(row[f"batch_{name}"]), "<f8") for name in ("loss", "accuracy")
    }
    others = _without(row, *_METRICS, "batch_loss", "batch_accuracy")
    return {**others, "values": _present(row, _METRICS), "steps": pack_steps(batches).hex()}


def _environments(old: Contents) -> Iterator[Row]:
    first_seen: dict[tuple[tuple[str, str], ...], datetime] = {}
    for row in sorted(old["attempts"], key=lambda row: row["started_at"]):
        versions = tuple(sorted(_without(row["versions"], "dataset_sha256").items()))
        first_seen.setdefault(versions, row["started_at"])
    for versions, at in first_seen.items():
        key = environments.key(dict(versions)).hex()
        yield {"sha256": key, "versions": dict(versions), "first_seen_at": at}


def _present(row: Row, names: tuple[str, ...]) -> dict[str, float]:
    return {name: row[name] for name in names if row[name] is not None}


def _renamed(row: Row) -> Row:
    return {_NEW_NAMES.get(name, name): value for name, value in row.items()}


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}
