"""Writes of what a job has produced: its files, its model, its results.

They are only called inside the fenced transactions of `shared.store.attempts`.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from shared.db.clock import Now
from shared.db.statements import Statement, insert_rows
from shared.db.tables import Artifact, Base, ClassResult, Model, Result
from shared.formats.results import NewArtifact, NewResult, Produced

_TABLES = Base.metadata.tables
_CLASS_RESULTS = _TABLES[ClassResult.__tablename__]
# rows with bytes, which no JSON document of `insert_rows` has
_INSERT_ARTIFACTS, _INSERT_RESULT = (
    Statement(insert(_TABLES[mapped.__tablename__])) for mapped in (Artifact, Result)
)


def add_produced(session: Session, of_jobs: Sequence[tuple[UUID, Produced, bool]], *, now: Now) -> None:
    """Insert what jobs have produced, each with whether it has trained a model, which gets a row then."""
    artifacts = [_artifact(job_id, each) for job_id, produced, _ in of_jobs for each in produced.artifacts]
    models = [_model(job_id, produced) for job_id, produced, is_model in of_jobs if is_model]
    results = [(job_id, produced.result) for job_id, produced, _ in of_jobs if produced.result is not None]
    per_class = [{"job_id": job_id, **dict(each)} for job_id, result in results for each in result.per_class]
    _INSERT_ARTIFACTS.execute(session, *artifacts)
    _insert_model(now).execute(session, *models)
    _INSERT_RESULT.execute(session, *(_result(job_id, result) for job_id, result in results))
    insert_rows(session, _CLASS_RESULTS, per_class)


def _artifact(job_id: UUID, artifact: NewArtifact) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "name": artifact.name,
        "role": artifact.role,
        "media_type": artifact.media_type,
        "size": len(artifact.content),
        "sha256": sha256(artifact.content).hexdigest(),
        "content": artifact.content,
    }


def _model(job_id: UUID, produced: Produced) -> dict[str, Any]:
    return {
        "id": job_id,
        "kind": produced.runnable,
        "layers": [layer.model_dump(mode="json") for layer in produced.layers],
        "weights_sha256": produced.weights_sha256,
    }


@lru_cache
def _insert_model(now: Now) -> Statement:
    return Statement(insert(_TABLES[Model.__tablename__]).values(created_at=now()))


def _result(job_id: UUID, result: NewResult) -> dict[str, Any]:
    names = ("type", "dataset", "size", "threshold", "body")
    row = {name: getattr(result, name) for name in names}
    return {**row, "job_id": job_id, "values": dict(result.values)}
