"""Trained models: listing, finding, describing, naming and deleting them."""

import re
from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session, selectinload

from shared import schemas
from shared.db import tables
from shared.db.clock import Now, database_now
from shared.db.tables import Attempt, Evaluation, Job, Model, ModelAlias, ModelFile
from shared.db.upserts import upsert
from shared.errors import ModelInUse, ModelNotFound
from shared.lifecycle import TERMINAL, AttemptOutcome, EventType, JobKind
from shared.store import rights
from shared.store.keyset import CreationKey, newest_first
from shared.store.references import find_model
from shared.store.rights import LOCAL, Actor, refusal
from shared.store.transitions import change

_MAX_JOBS_IN_ERROR = 3


def page(
    session: Session,
    *,
    submitted_by: str | None = None,
    after: CreationKey | None = None,
    limit: int,
) -> list[tuple[CreationKey, schemas.ModelSummary]]:
    """Return up to `limit` models with their keys, newest first.

    Args:
        submitted_by: those of the API keys with this id or name, `none` for no key; None: all.
    """
    statement = select(Model).where(Model.deleted_at.is_(None)).options(selectinload(Model.alias))
    if submitted_by is not None:
        statement = statement.where(Model.job_id.in_(rights.of_jobs_by(session, submitted_by, Job.id)))
    rows = newest_first(session, statement, Model, after=after, limit=limit)
    summaries = _summaries(session, [row for _, row in rows])
    return [(key, summary) for (key, _), summary in zip(rows, summaries, strict=True)]


def named(session: Session) -> list[schemas.ModelSummary]:
    """Return the models that have an alias, by alias."""
    rows = session.scalars(
        select(Model)
        .join(ModelAlias, ModelAlias.model_id == Model.id)
        .where(Model.deleted_at.is_(None))
        .options(selectinload(Model.alias))
        .order_by(ModelAlias.alias)
    )
    return _summaries(session, rows.all())


def best(session: Session) -> schemas.ModelSummary | None:
    """Return the model of the greatest accuracy, of several the newest one; None if there is no model."""
    statement = select(Model).where(Model.deleted_at.is_(None)).options(selectinload(Model.alias))
    rows = session.scalars(statement.order_by(Model.accuracy.desc(), Model.id.desc()).limit(1))
    return next(iter(_summaries(session, rows.all())), None)


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
    of_job = Attempt.job_id == row.job_id
    trained = session.scalar(select(Attempt).where(of_job, Attempt.outcome == AttemptOutcome.SUCCEEDED))
    return schemas.ModelDetail(
        **dict(_summaries(session, [row])[0]),
        versions=trained.versions if trained else {},
        dataset_sha256=trained.dataset_sha256 if trained else None,
        spec=schemas.TrainSpec.model_validate(row.spec),
        evaluations=tuple(map(schemas.ModelEvaluation.model_validate, session.scalars(evaluations))),
    )


def patch(
    session: Session,
    reference: schemas.ModelReference,
    changes: schemas.ModelPatch,
    *,
    actor: Actor = LOCAL,
    now: Now = database_now,
) -> UUID:
    """Change a model and return its id. An alias is taken from the model that has it. Idempotent.

    What has changed is an event of the job that trained the model.

    Raises:
        ModelNotFound: there is no such model.
        NotPermitted: it belongs to others, or the model that has the alias does.
    """
    model = _locked(session, reference, actor)
    old = {"alias": model.alias.alias if model.alias else None, "description": model.description}
    wanted = changes.model_dump(exclude_unset=True)
    changed = {name: value for name, value in wanted.items() if value != old[name]}
    if not changed:
        return model.id
    if "description" in changed:
        model.description = changed["description"]
    if "alias" in changed:
        session.execute(delete(ModelAlias).where(ModelAlias.model_id == model.id))
        if changed["alias"] is not None:
            _take_alias(session, changed["alias"], model.id, actor, now)
    change(session, EventType.EDITED, model.job_id, data={**changed, **actor.by}, now=now)
    return model.id


def _take_alias(session: Session, alias: str, model_id: UUID, actor: Actor, now: Now) -> None:
    held = select(Model.id, Model.job_id, Job.api_key_id).join(Job, Job.id == Model.job_id)
    holder = session.execute(held.join(ModelAlias).where(ModelAlias.alias == alias)).one_or_none()
    owner = select(Job.api_key_id).join(Model, Model.job_id == Job.id)
    is_holder = Model.id == ModelAlias.model_id
    may_take = actor.may_change(owner.where(is_holder).correlate(ModelAlias).scalar_subquery())
    # one statement: at no moment has the alias two models, or none
    taken = upsert(session, ModelAlias, {"alias": alias, "model_id": model_id}, may_take)
    if holder is not None and taken:
        change(session, EventType.EDITED, holder.job_id, data={"alias": None, **actor.by}, now=now)
    elif not taken:
        of = f"model {holder.id}" if holder is not None else "the model"
        raise refusal(session, f"{of}, which is `{alias}`,", holder and holder.api_key_id, actor)


def delete_model(
    session: Session, reference: schemas.ModelReference, *, actor: Actor = LOCAL, now: Now = database_now
) -> None:
    """Delete a model and its files; its job and the job's evaluation stay. An event of that job says so.

    Raises:
        ModelNotFound: there is no such model.
        NotPermitted: it belongs to others.
        ModelInUse: it has an alias, or an evaluation job uses or has used it.
    """
    model = _locked(session, reference, actor)
    if model.alias is not None:
        raise ModelInUse(f"model {model.id} is `{model.alias.alias}`: give that alias to another model first")
    if used_by := _evaluation_jobs(session, model.id):
        shown = ", ".join(map(str, used_by[:_MAX_JOBS_IN_ERROR]))
        more = " and more" if len(used_by) > _MAX_JOBS_IN_ERROR else ""
        raise ModelInUse(f"model {model.id} is used by evaluation job {shown}{more}")
    session.execute(delete(ModelFile).where(ModelFile.model_id == model.id))
    session.execute(update(Model).where(Model.id == model.id).values(deleted_at=now()))
    change(session, EventType.EDITED, model.job_id, data={"model": "deleted", **actor.by}, now=now)


def _locked(session: Session, reference: schemas.ModelReference, actor: Actor) -> Model:
    """Find a model, and lock it and the job that trained it until the end of the transaction."""
    model = find(session, reference)
    # the job first, as its deletion does
    owner = select(Job.api_key_id, actor.may_change(Job.api_key_id)).where(Job.id == model.job_id)
    row = session.execute(owner.with_for_update(of=Job, key_share=True)).one_or_none()
    if row is not None and not row[1]:
        raise refusal(session, f"model {model.id}", row[0], actor)
    found = select(Model).where(Model.id == model.id)
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
    """Return the model with an id or alias; of an id, which is that of its job too, some digits will do.

    Raises:
        ModelNotFound: there is no such model, or it was deleted.
        AmbiguousId: several models have these digits.
    """
    if isinstance(reference, UUID):
        row = session.get(tables.Model, reference)
    else:
        named = select(tables.ModelAlias.model_id).where(tables.ModelAlias.alias == reference)
        row = session.scalar(select(tables.Model).where(tables.Model.id == named.scalar_subquery()))
        if row is None and re.fullmatch(schemas.PART_OF_ID, reference):
            row = session.get(tables.Model, find_model(session, reference))
    return _existing(row, reference)


def lock_stored(session: Session, model_ids: Collection[UUID], *, waits: bool = True) -> set[UUID]:
    """Keep models from being deleted until this transaction ends; return the ids of those that are stored.

    Args:
        waits: whether to wait for models that other transactions have locked; else they are left out.
    """
    if not model_ids:
        return set()
    lock = _stored(model_ids).order_by(Model.id).with_for_update(read=True, skip_locked=not waits)
    return set(session.scalars(lock))


def stored(session: Session, model_ids: Collection[UUID]) -> set[UUID]:
    """Return the ids of those models that are stored."""
    return set(session.scalars(_stored(model_ids))) if model_ids else set()


def _stored(model_ids: Collection[UUID]) -> Select[UUID]:
    return select(Model.id).where(Model.id.in_(model_ids), Model.deleted_at.is_(None))


def _existing(row: tables.Model | None, reference: schemas.ModelReference) -> tables.Model:
    if row is None or row.deleted_at is not None:
        raise ModelNotFound(f"there is no model {reference}: GET /v1/models lists the models")
    return row


def _summaries(session: Session, rows: Sequence[tables.Model]) -> list[schemas.ModelSummary]:
    """Return rows as API schemas."""
    submitters = select(Job.id, Job.api_key_id).where(Job.id.in_(row.job_id for row in rows))
    owners: dict[UUID, UUID | None] = dict(session.execute(submitters).all()) if rows else {}
    names = rights.names(session, owners.values())
    return [_summary(row, key := owners.get(row.job_id), names.get(key)) for row in rows]


def _summary(row: tables.Model, key_id: UUID | None, submitted_by: str | None) -> schemas.ModelSummary:
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
        api_key_id=key_id,
        submitted_by=submitted_by,
    )
