"""What people do with trained models: list them, trace them, name them, delete them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.orm import Session, selectinload

from shared import schemas
from shared.db import tables
from shared.db.clock import Now, database_now
from shared.db.engine import upsert
from shared.db.tables import Evaluation, Job, Model, ModelAlias, ModelFile
from shared.errors import ModelInUse, ModelNotFound
from shared.lifecycle import TERMINAL

_NAMED = 3  # evaluations that an error names


def page(session: Session, *, limit: int, before: UUID | None = None) -> list[schemas.ModelSummary]:
    """Models, newest first: at most `limit`, and only those that were stored before the model `before`."""
    newest_first = select(Model).where(Model.deleted_at.is_(None)).options(selectinload(Model.alias))
    newest_first = newest_first.order_by(Model.created_at.desc(), Model.id.desc()).limit(limit)
    if before is not None:
        anchor = select(Model.created_at, Model.id).where(Model.id == before).subquery()
        newest_first = newest_first.where(
            tuple_(Model.created_at, Model.id) < select(anchor.c.created_at, anchor.c.id).scalar_subquery()
        )
    return [summary(row) for row in session.scalars(newest_first)]


def detail(session: Session, reference: schemas.ModelReference) -> schemas.ModelDetail:
    """A model, what it was trained with, and every evaluation of it.

    Raises:
        ModelNotFound: there is no such model.
    """
    row = find(session, reference)
    # jobs' ids sort by the time of their making
    evaluations = session.scalars(
        select(Evaluation).where(Evaluation.model_id == row.id).order_by(Evaluation.job_id)
    )
    return schemas.ModelDetail(
        **dict(summary(row)),
        spec=schemas.TrainSpec.model_validate(row.spec),
        evaluations=tuple(map(schemas.ModelEvaluation.model_validate, evaluations)),
    )


def patch(session: Session, reference: schemas.ModelReference, changes: schemas.ModelPatch) -> UUID:
    """Change what was given of a model; returns its id. An alias that another model has moves here at once.

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
    """Delete a model and its files; its job and their evaluation stay. Done twice, it is done once.

    Raises:
        ModelNotFound: there is no such model.
        ModelInUse: it has an alias, or an evaluation job measures or has measured it.
    """
    model = _locked(session, reference)
    if model.alias is not None:
        raise ModelInUse(f"model {model.id} is `{model.alias.alias}`: give that alias to another model first")
    if used_by := _evaluation_jobs(session, model.id):
        shown = ", ".join(map(str, used_by[:_NAMED]))
        more = " and more" if len(used_by) > _NAMED else ""
        raise ModelInUse(f"model {model.id} is measured by evaluation job {shown}{more}")
    session.execute(delete(ModelFile).where(ModelFile.model_id == model.id))
    session.execute(update(Model).where(Model.id == model.id).values(deleted_at=now()))


def _locked(session: Session, reference: schemas.ModelReference) -> Model:
    """The model, that nobody else changes until the end of the transaction."""
    model = find(session, reference)
    session.refresh(model, with_for_update=True)
    return find(session, model.id)  # it may have been deleted meanwhile


def _evaluation_jobs(session: Session, model_id: UUID) -> Sequence[UUID]:
    measured = select(Evaluation.job_id).where(Evaluation.job_id == Job.id).exists()
    unfinished = Job.state.not_in(TERMINAL)
    return session.scalars(
        select(Job.id)
        .where(Job.model_id == model_id, Job.kind == "evaluate", measured | unfinished)
        .order_by(Job.id)
        .limit(_NAMED + 1)
    ).all()


def spec(session: Session, model_id: schemas.ModelReference) -> schemas.TrainSpec:
    """What a model was trained with.

    Raises:
        ModelNotFound: there is no such model.
    """
    return schemas.TrainSpec.model_validate(find(session, model_id).spec)


def file(
    session: Session, model_id: schemas.ModelReference, format_: schemas.ModelFormat
) -> tables.ModelFile:
    """A model's bytes in one format.

    Raises:
        ModelNotFound: there is no such model.
    """
    return session.get_one(tables.ModelFile, (find(session, model_id).id, format_))


def find(session: Session, reference: schemas.ModelReference) -> tables.Model:
    """The model with that id or alias.

    Raises:
        ModelNotFound: there is none, or it was deleted.
    """
    if isinstance(reference, UUID):
        row = session.get(tables.Model, reference)
    else:
        named = select(tables.ModelAlias.model_id).where(tables.ModelAlias.alias == reference)
        row = session.scalar(select(tables.Model).where(tables.Model.id == named.scalar_subquery()))
    if row is None or row.deleted_at is not None:
        raise ModelNotFound(f"there is no model {reference}: GET /v1/models lists the models")
    return row


def summary(row: tables.Model) -> schemas.ModelSummary:
    """A stored model as the API shows it."""
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


def get(session: Session, model_id: schemas.ModelReference) -> schemas.ModelSummary:
    """A model's description.

    Raises:
        ModelNotFound: there is no such model.
    """
    return summary(find(session, model_id))
