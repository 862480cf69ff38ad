"""B19: the time that `trainshed migrate` takes to move the rows of 0.1.0 to the tables of 0.2.

    python -m bench.moving

At full scale, 100,000 finished jobs of the codelab are moved; they need 30 GB of the disk for each kind of
database. One job's rows are written out here; the other jobs' rows are copies of these with other ids.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from sqlalchemy import Connection, MetaData, Table, insert, text

from bench.databases import database_urls
from bench.rows import SECONDS, Row, run
from shared.db.engine import Database
from shared.db.postgresql import lift_time_limit
from shared.lifecycle import Phase
from tests.support import old_schema
from tests.support.databases import open_database

_JOBS = 100_000
_EPOCHS, _BATCHES, _IMAGES, _WRONG = 10, 11, 500, 15
_FILE_SIZES = {"keras": 88_000, "onnx": 27_000}
_AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
_PREFIX = "01a20000000070008000"  # first digits of each id; the last twelve are the job's number
_OF_JOB = ("id", "job_id", "model_id")  # the columns with a job's id
_NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers "
    f"WHERE number < :jobs - 1) SELECT number, '{_PREFIX}' || printf('%012x', number) AS id FROM numbers",
    "postgresql": f"SELECT number, CAST('{_PREFIX}' || lpad(to_hex(number), 12, '0') AS UUID) AS id "
    "FROM generate_series(1, :jobs - 1) AS numbers(number)",
}


def measure(scale: float) -> Iterator[Row]:
    """Fill a database of each kind with the rows of 0.1.0, and migrate it."""
    jobs = max(20, round(_JOBS * scale))
    with TemporaryDirectory(prefix="bench-") as name, database_urls(Path(name)) as urls:
        for kind, url in urls.items():
            with open_database(url) as database, database.engine.begin() as connection:
                old_schema.create(connection)
                _fill(connection, jobs)
            with open_database(url) as database:
                size = _size(database)
                began = perf_counter()
                database.migrate()
                seconds = perf_counter() - began
                assert not database.missing_step(), "it has the newest schema"
            yield Row("B19", f"{kind}, move of {jobs:,} jobs, {size >> 20:,} MiB", SECONDS.text([seconds]))


def _size(database: Database) -> int:
    if database.engine.dialect.name == "sqlite":
        return Path(database.engine.url.database or "").stat().st_size
    with database.engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def _fill(connection: Connection, jobs: int) -> None:
    lift_time_limit(connection)
    tables, rows = MetaData(), defaultdict[str, list[dict[str, Any]]](list)
    tables.reflect(connection)
    for name, row in _rows():
        rows[name].append(row)
    numbers = _NUMBERS[connection.dialect.name]
    connection.execute(text(f"CREATE TABLE others AS {numbers.replace(':jobs', str(jobs))}"))
    for table in tables.sorted_tables:
        if table.name in rows:
            connection.execute(insert(table), rows[table.name])
            connection.execute(text(_copies(table)))
    connection.execute(text("DROP TABLE others"))


def _copies(table: Table) -> str:
    """Return the statement that copies the one job's rows of a table for each other job."""
    values = {column.name: f'one."{column.name}"' for column in table.columns}
    values |= dict.fromkeys(values.keys() & set(_OF_JOB), "others.id")
    if table.name == "job_events":
        values["position"] += " + 100 * others.number"
    columns = ", ".join(f'"{name}"' for name in values)
    return (
        f"INSERT INTO {table.name} ({columns}) SELECT {', '.join(values.values())} "
        f"FROM {table.name} AS one CROSS JOIN others ORDER BY others.number"
    )


def _rows() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of one job, each with its table."""
    job_id = _PREFIX + "0" * 12
    of_job, of_model = {"job_id": job_id}, {"model_id": job_id}
    metrics = {"loss": 1 / 3, "accuracy": 0.9, "val_loss": 0.3, "val_accuracy": 0.91}
    yield (
        "jobs",
        {
            **{"id": job_id, "kind": "train", "state": "succeeded", "spec": {"epochs": _EPOCHS, "seed": 7}},
            **{"name": "codelab", "tags": [], "queue": "default", "priority": "normal", "model_id": job_id},
            **{"share": "address:127.0.0.1", "place": 1.0, "waits_for": 0, "has_dependents": False},
            **{
                "attempt": 1,
                "failures": 0,
                "crashes": 0,
                "max_attempts": 3,
                "version": 20,
                "next_epoch": _EPOCHS,
            },
            **{
                "scheduled_at": _AT,
                "created_at": _AT,
                "started_at": _AT,
                "finished_at": _AT,
                "duration_s": 9.0,
            },
            **{"loss": 1 / 3, "val_accuracy": 0.91, "evaluation_accuracy": 0.97},
        },
    )
    epochs = [{"epoch": epoch, **metrics, "seconds": 0.8} for epoch in range(_EPOCHS)]
    events: list[tuple[str, dict[str, Any]]] = [
        ("submitted", {}),
        ("claimed", {"worker": "w", "device": "CPU"}),
    ]
    events += [("phase_entered", {"phase": phase}) for phase in Phase]
    events += [("epochs_recorded", {"epochs": [epoch]}) for epoch in epochs]
    for seq, (type_, data) in enumerate([*events, ("succeeded", {"accuracy": 0.97})], 1):
        of_event = {"seq": seq, "at": _AT, "type": type_, "attempt": min(seq - 1, 1), "data": data}
        yield "job_events", {**of_job, **of_event, "position": seq}
    versions = {"python": "3.13.5", "tensorflow": "2.20.0", "keras": "3.15.0", "dataset_sha256": "f" * 64}
    attempt = {"worker": "w", "device": "CPU", "started_at": _AT, "finished_at": _AT, "outcome": "succeeded"}
    yield "attempts", {**of_job, "number": 1, **attempt, "versions": versions}
    for number in range(1, len(events) + 2):
        line = {"at": _AT, "level": "info", "message": "epoch recorded", "fields": {"epoch": number}}
        yield "job_logs", {**of_job, "attempt": 1, "number": number, **line}
    for epoch in epochs:
        batches = {"batch_loss": bytes(8 * _BATCHES), "batch_accuracy": bytes(8 * _BATCHES)}
        yield "epochs", {**of_job, **epoch, "attempt": 1, **batches}
    layers = [{"name": f"layer{number}", "type": "Conv2D", "parameters": 208} for number in range(7)]
    model = {"dataset": "mnist", "spec": {"model": "cnn"}, "parameters": 5_994, "layers": layers}
    model |= {"weights_sha256": "b" * 64, "accuracy": 0.97, "created_at": _AT}
    yield "models", {"id": job_id, **of_job, **model}
    for format_, size in _FILE_SIZES.items():
        yield "model_files", {**of_model, "format": format_, "sha256": "c" * 64, "content": os.urandom(size)}
    evaluation = {"dataset": "mnist", "size": _IMAGES, "loss": 0.1, "accuracy": 0.97, "rejected": 0}
    predictions = b"".join(bytes([label % 10]) + os.urandom(44) for label in range(_IMAGES))
    yield "evaluations", {**of_job, **of_model, **evaluation, "predictions": predictions}
    share = {"accuracy": 0.97, "precision": 0.97, "recall": 0.97, "f1": 0.97}
    for label in range(10):
        counts = {"count": 50, "correct": 48, "rejected": 0}
        yield "class_results", {**of_job, "label": label, "name": str(label), **counts, **share}
        for predicted, count in ((label, 48), ((label + 1) % 10, 1), ((label + 2) % 10, 1)):
            yield "confusion", {**of_job, "label": label, "predicted": predicted, "count": count}
    for image in range(_WRONG):
        wrong = {"index": image, "label": 3, "predicted": 5, "probability": 0.6}
        yield "misclassified", {**of_job, **wrong}


if __name__ == "__main__":
    run(measure)
