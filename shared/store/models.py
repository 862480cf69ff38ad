"""Trained models: listing, finding, describing, naming and deleting them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, selectinload

from shared import schemas
from shared.db import tables
from shared.db.clock import Now, database_now
from shared.db.tables import Attempt, Evaluation, Job, Model, ModelAlias, ModelFile
from shared.db.upserts import upsert
from shared.errors import ModelInUse, ModelNotFound
from shared.lifecycle import TERMINAL, AttemptOutcome, JobKind
from shared.store.keyset import CreationKey, newest_first

_MAX_JOBS_IN_ERROR = 3


def page(
    session: Session, *, after: CreationKey | None = None, limit: int
) -> list[tuple[CreationKey, schemas.ModelSummary]]:
    """Return up to `limit` models with their keys, newest first."""
    statement = select(Model).where(Model.deleted_at.is_(None)).options(selectinload(Model.alias))
    rows = newest_first(session, statement, Model, after=after, limit=limit)
    return [(key, _summary(row)) for key, row in rows]


def named(session: Session) -> list[schemas.ModelSummary]:
    """Return the models that have an alias, by alias."""
    rows = session.scalars(
        select(Model)
        .join(ModelAlias, ModelAlias.model_id == Model.id)
        .where(Model.deleted_at.is_(None))
        .options(selectinload(Model.alias))
        .order_by(ModelAlias.alias)
    )
    return list(map(_summary, rows))


def file_sizes(session: Session, model_id: UUID) -> dict[schemas.ModelFormat, int]:
    """Return how many bytes a model has in each file format, without reading them."""
    sizes = select(ModelFile.format, func.length(ModelFile.content)).where(ModelFile.model_id == model_id)
    return {schemas.ModelFormat(format_): size for format_, size in session.execute(sizes)}


def detail(session: Session, reference: schemas.ModelReference) -> schemas.ModelDetail:
    """Return a model with the spec of its training and all its evaluations, oldest first.

    Raises:
        ModelNotFound: there is no such model.
    """
    row = find(session, reference)
    # UUIDv7: sorts by creation time
    evaluations = select(Evaluation).where(Evaluation.model_id == row.id).order_by(Evaluation.job_id)
    trained = select(Attempt.versions).where(
        Attempt.job_id == row.job_id, Attempt.outcome == AttemptOutcome.SUCCEEDED
    )
    return schemas.ModelDetail(
        **dict(_summary(row)),
        versions=session.scalar(trained) or {},
        spec=schemas.TrainSpec.model_validate(row.spec),
        evaluations=tuple(map(schemas.ModelEvaluation.model_validate, session.scalars(evaluations))),
    )


def patch(session: Session, reference: schemas.ModelReference, changes: schemas.ModelPatch) -> UUID:
    """Change a model and return its id. An alias is taken from the model that has it. Idempotent.

    Raises:
        ModelNotFound: there is no such model.
    """
    model = _locked(session, reference)
    if "description" in changes.model_fields_set:
        model.description = changes.description
    if "alias" in changes.model_fields_set:
        session.execute(delete(ModelAlias).where(ModelAlias.model_id == model.id))
        if changes.alias is not None:
            # one statement: at no moment has the alias two models, or none
            upsert(session, ModelAlias, {"alias": changes.alias, "model_id": model.id})
    return model.id


def delete_model(session: Session, reference: schemas.ModelReference, *, now: Now = database_now) -> None:
    """Delete a model and its files; its job and the job's evaluation stay.

    Raises:
        ModelNotFound: there is no such model.
        ModelInUse: it has an alias, or an evaluation job uses or has used it.
    """
    model = _locked(session, reference)
    if model.alias is not None:
        raise ModelInUse(f"model {model.id} is `{model.alias.alias}`: give that alias to another model first")
    if used_by := _evaluation_jobs(session, model.id):
        shown = ", ".join(map(str, used_by[:_MAX_JOBS_IN_ERROR]))
        more = " and more" if len(used_by) > _MAX_JOBS_IN_ERROR else ""
        raise ModelInUse(f"model {model.id} is used by evaluation job {shown}{more}")
    session.execute(delete(ModelFile).where(ModelFile.model_id == model.id))
    session.execute(update(Model).where(Model.id == model.id).values(deleted_at=now()))


def _locked(session: Session, reference: schemas.ModelReference) -> Model:
    """Find a model and lock its row until the end of the transaction."""
    found = select(Model).where(Model.id == find(session, reference).id)
    lock = found.with_for_update().execution_options(populate_existing=True)
    return _existing(session.scalar(lock), reference)  # it may have been deleted before the lock was acquired


def _evaluation_jobs(session: Session, model_id: UUID) -> Sequence[UUID]:
    evaluated = select(Evaluation.job_id).where(Evaluation.job_id == Job.id).exists()
    unfinished = Job.state.not_in(TERMINAL)
    return session.scalars(
        select(Job.id)
        .where(Job.model_id == model_id, Job.kind == JobKind.EVALUATE, evaluated | unfinished)
        .order_by(Job.id)
        .limit(_MAX_JOBS_IN_ERROR + 1)
    ).all()


def spec(session: Session, model_id: schemas.ModelReference) -> schemas.TrainSpec:
    """Return the spec of a model's training.

    Raises:
        ModelNotFound: there is no such model.
    """
    return schemas.TrainSpec.model_validate(find(session, model_id).spec)


def kind(row: tables.Model) -> schemas.ModelKind:
    """Return the architecture of a model."""
    return schemas.ModelKind(row.spec["model"])


def file(
    session: Session, model_id: schemas.ModelReference, format_: schemas.ModelFormat
) -> tables.ModelFile:
    """Return a model's file in a format.

    Raises:
        ModelNotFound: there is no such model.
    """
    return session.get_one(tables.ModelFile, (find(session, model_id).id, format_))


def find(session: Session, reference: schemas.ModelReference) -> tables.Model:
    """Return the model with an id or alias.

    Raises:
        ModelNotFound: there is no such model, or it was deleted.
    """
    if isinstance(reference, UUID):
        row = session.get(tables.Model, reference)
    else:
        named = select(tables.ModelAlias.model_id).where(tables.ModelAlias.alias == reference)
        row = session.scalar(select(tables.Model).where(tables.Model.id == named.scalar_subquery()))
    return _existing(row, reference)


def _existing(row: tables.Model | None, reference: schemas.ModelReference) -> tables.Model:
    if row is None or row.deleted_at is not None:
        raise ModelNotFound(f"there is no model {reference}: GET /v1/models lists the models")
    return row


def _summary(row: tables.Model) -> schemas.ModelSummary:
    """Return a row as an API schema."""
    spec = schemas.TrainSpec.model_validate(row.spec)
    return schemas.ModelSummary(
        id=row.id,
        job_id=row.job_id,
        dataset=row.dataset,
        kind=spec.model,
        parameters=row.parameters,
        layers=tuple(schemas.LayerSummary.model_validate(layer) for layer in row.layers),
        weights_sha256=row.weights_sha256,
        accuracy=row.accuracy,
        created_at=row.created_at,
        alias=row.alias.alias if row.alias else None,
        description=row.description,
    )
