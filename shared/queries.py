"""Reads of jobs, in the form in which the API shows them."""

from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, selectinload

from shared import schemas, tables
from shared.errors import JobNotFound
from shared.lifecycle import JobState


def job(session: Session, job_id: UUID) -> schemas.JobDetail:
    """One job with its attempts.

    Raises:
        JobNotFound: there is no such job.
    """
    row = session.get(tables.Job, job_id, options=[selectinload(tables.Job.attempts)])
    if row is None:
        raise JobNotFound(f"there is no job {job_id}")
    attempts = tuple(schemas.Attempt.model_validate(attempt) for attempt in row.attempts)
    return schemas.JobDetail(**_fields(row), attempts=attempts)


def jobs(
    session: Session, *, limit: int, before: UUID | None = None, state: JobState | None = None
) -> list[schemas.Job]:
    """Jobs, newest first.

    Args:
        limit: how many at most.
        before: only jobs that were submitted before this one.
        state: only jobs in this state.
    """
    table = tables.Job
    statement = select(table).order_by(table.created_at.desc(), table.id.desc()).limit(limit)
    if before is not None:
        anchor = select(table.created_at, table.id).where(table.id == before).subquery()
        statement = statement.where(
            tuple_(table.created_at, table.id) < select(anchor.c.created_at, anchor.c.id).scalar_subquery()
        )
    if state is not None:
        statement = statement.where(table.state == state)
    return [schemas.Job(**_fields(row)) for row in session.scalars(statement)]


def _fields(row: tables.Job) -> dict[str, Any]:
    fields = {name: getattr(row, name) for name in schemas.Job.model_fields if hasattr(row, name)}
    spec = schemas.TrainSpec.model_validate(row.spec) if row.kind == "train" else None
    return {
        **fields,
        "spec": spec or schemas.EvaluateSpec.model_validate(row.spec),
        "tags": tuple(row.tags),
        "progress": _progress(row, spec) if spec else None,
        "metrics": None if row.loss is None else schemas.LastMetrics.model_validate(row),
        "error": None
        if row.error_code is None
        else schemas.JobError(code=row.error_code, message=row.error_message or ""),
    }


def _progress(row: tables.Job, spec: schemas.TrainSpec) -> schemas.Progress:
    return schemas.Progress(
        epoch=row.next_epoch,
        epochs=spec.epochs,
        step=row.next_epoch * spec.steps_per_epoch,
        steps=spec.epochs * spec.steps_per_epoch,
        percent=100 * row.next_epoch / spec.epochs,
    )
