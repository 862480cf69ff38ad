"""Writes of what a job has produced: its files, its model, its results.

They are only called inside the fenced transactions of `shared.store.attempts`.
"""

from functools import lru_cache
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from shared.db.bulk_insert import insert_rows
from shared.db.clock import Now
from shared.db.prepared import Prepared
from shared.db.tables import Artifact, Base, ClassResult, Model, Result
from shared.formats.results import NewArtifact, NewResult, Produced

_TABLES = Base.metadata.tables
_CLASS_RESULTS = _TABLES[ClassResult.__tablename__]
# rows with bytes, which no JSON document of `insert_rows` has
_INSERT_ARTIFACTS, _INSERT_RESULT = (
    Prepared(insert(_TABLES[mapped.__tablename__])) for mapped in (Artifact, Result)
)


def add_produced(session: Session, job_id: UUID, produced: Produced, *, is_model: bool, now: Now) -> None:
    """Insert what a job has produced.

    Args:
        is_model: whether it has trained a model, which gets a row of its own.
    """
    _INSERT_ARTIFACTS.execute_many(session, [_row(job_id, artifact) for artifact in produced.artifacts])
    if is_model:
        row = {
            "id": job_id,
            "kind": produced.runnable,
            "layers": [layer.model_dump(mode="json") for layer in produced.layers],
            "weights_sha256": produced.weights_sha256,
        }
        _insert_model(now).execute(session, row)
    if produced.result is not None:
        _add_result(session, job_id, produced.result)


def _row(job_id: UUID, artifact: NewArtifact) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "name": artifact.name,
        "role": artifact.role,
        "media_type": artifact.media_type,
        "size": len(artifact.content),
        "sha256": sha256(artifact.content).hexdigest(),
        "content": artifact.content,
    }


@lru_cache
def _insert_model(now: Now) -> Prepared:
    return Prepared(insert(_TABLES[Model.__tablename__]).values(created_at=now()))


def _add_result(session: Session, job_id: UUID, result: NewResult) -> None:
    names = ("type", "dataset", "size", "threshold", "body")
    row = {name: getattr(result, name) for name in names}
    _INSERT_RESULT.execute(session, {**row, "job_id": job_id, "values": dict(result.values)})
    insert_rows(session, _CLASS_RESULTS, [{"job_id": job_id, **dict(each)} for each in result.per_class])
