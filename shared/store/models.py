"""Trained models: listing, finding, describing, naming and deleting them."""

import re
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session, selectinload, undefer

from shared import schemas
from shared.db import tables
from shared.db.clock import Now, database_now
from shared.db.tables import Artifact, Attempt, Job, JobValue, Model, ModelAlias, Result
from shared.db.upserts import upsert
from shared.errors import ModelInUse, ModelNotFound, ModelNotRunnable
from shared.formats.results import EVALUATION, KERAS_FILE, MODEL
from shared.lifecycle import TERMINAL, AttemptOutcome, EventType, JobKind
from shared.store import artifacts, rights
from shared.store.keyset import CreationKey, newest_first
from shared.store.references import find_model
from shared.store.rights import LOCAL, Actor, refusal
from shared.store.transitions import change

_MAX_JOBS_IN_ERROR = 3
_ACCURACY = f"{EVALUATION}accuracy"
_LISTED = select(Model).where(Model.deleted_at.is_(None)).options(selectinload(Model.alias))


def page(
    session: Session,
    *,
    submitted_by: str | None = None,
    runnable: bool = False,
    after: CreationKey | None = None,
    limit: int,
) -> list[tuple[CreationKey, schemas.ModelSummary]]:
    """Return up to `limit` models with their keys, newest first.

    Args:
        submitted_by: only models of the API keys with this id or name, or `none` for no key; None for all.
        runnable: only models that the API can run.
    """
    statement = _LISTED
    if submitted_by is not None:
        statement = statement.where(Model.id.in_(rights.of_jobs_by(session, submitted_by, Job.id)))
    if runnable:
        statement = statement.where(Model.kind.is_not(None))
    rows = newest_first(session, statement, Model, after=after, limit=limit)
    summaries = _summaries(session, [row for _, row in rows])
    return [(key, summary) for (key, _), summary in zip(rows, summaries, strict=True)]


def named(session: Session) -> list[schemas.ModelSummary]:
    """Return the models that have an alias, sorted by alias."""
    by_alias = _LISTED.join(ModelAlias, ModelAlias.model_id == Model.id).order_by(ModelAlias.alias)
    return _summaries(session, session.scalars(by_alias).all())


def best(session: Session) -> schemas.ModelSummary | None:
    """Return the most accurate model that the API can run, on a tie the newest, or None if there is none."""
    accurate = _LISTED.join(JobValue, JobValue.job_id == Model.id).where(
        JobValue.name == _ACCURACY, Model.kind.is_not(None)
    )
    rows = session.scalars(accurate.order_by(JobValue.value.desc(), Model.id.desc()).limit(1))
    return next(iter(_summaries(session, rows.all())), None)


def detail(session: Session, reference: schemas.ModelReference) -> schemas.ModelDetail:
    """Return a model with the spec of its training, its files, and all its evaluations, oldest first.

    Raises:
        ModelNotFound: there is no such model.
    """
    row = find(session, reference)
    # UUIDv7: sorts by creation time
    of_model = select(Result).join(Job, Job.id == Result.job_id).where(Job.model_id == row.id)
    evaluations = of_model.order_by(Result.job_id)
    of_job = Attempt.job_id == row.id
    trained = session.scalar(select(Attempt).where(of_job, Attempt.outcome == AttemptOutcome.SUCCEEDED))
    return schemas.ModelDetail(
        **dict(_summaries(session, [row])[0]),
        versions=trained.versions if trained else {},
        dataset_sha256=trained.dataset_sha256 if trained else None,
        spec=spec(session, row.id),
        artifacts=artifacts.of_model(session, row.id),
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

    The changes are recorded as an event of the job that trained the model.

    Raises:
        ModelNotFound: there is no such model.
        NotPermitted: the model belongs to others, or the model that has the alias does.
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
    change(session, EventType.EDITED, model.id, data={**changed, **actor.by}, now=now)
    return model.id


def _take_alias(session: Session, alias: str, model_id: UUID, actor: Actor, now: Now) -> None:
    held = select(Job.id, Job.api_key_id).join(ModelAlias, ModelAlias.model_id == Job.id)
    holder = session.execute(held.where(ModelAlias.alias == alias)).one_or_none()
    owner = select(Job.api_key_id).where(Job.id == ModelAlias.model_id).correlate(ModelAlias)
    may_take = actor.may_change(owner.scalar_subquery())
    # one statement: at no moment has the alias two models, or none
    taken = upsert(session, ModelAlias, {"alias": alias, "model_id": model_id}, may_take)
    if holder is not None and taken:
        change(session, EventType.EDITED, holder.id, data={"alias": None, **actor.by}, now=now)
    elif not taken:
        of = f"model {holder.id}" if holder is not None else "the model"
        raise refusal(session, f"{of}, which is `{alias}`,", holder and holder.api_key_id, actor)


def delete_model(
    session: Session, reference: schemas.ModelReference, *, actor: Actor = LOCAL, now: Now = database_now
) -> None:
    """Delete a model and its files, with an event of its job; the job and the job's evaluation stay.

    Raises:
        ModelNotFound: there is no such model.
        NotPermitted: the model belongs to others.
        ModelInUse: the model has an alias, or an evaluation job uses or has used it.
    """
    model = _locked(session, reference, actor)
    if model.alias is not None:
        raise ModelInUse(f"model {model.id} is `{model.alias.alias}`: give that alias to another model first")
    if used_by := _evaluation_jobs(session, model.id):
        shown = ", ".join(map(str, used_by[:_MAX_JOBS_IN_ERROR]))
        more = " and more" if len(used_by) > _MAX_JOBS_IN_ERROR else ""
        raise ModelInUse(f"model {model.id} is used by evaluation job {shown}{more}")
    session.execute(delete(Artifact).where(Artifact.job_id == model.id, Artifact.role == MODEL))
    session.execute(update(Model).where(Model.id == model.id).values(deleted_at=now()))
    change(session, EventType.EDITED, model.id, data={"model": "deleted", **actor.by}, now=now)


def _locked(session: Session, reference: schemas.ModelReference, actor: Actor) -> Model:
    """Find a model, and lock it and the job that trained it until the end of the transaction."""
    model = find(session, reference)
    # the job first, in the order in which a job's deletion locks
    owner = select(Job.api_key_id, actor.may_change(Job.api_key_id)).where(Job.id == model.id)
    row = session.execute(owner.with_for_update(of=Job, key_share=True)).one_or_none()
    if row is not None and not row[1]:
        raise refusal(session, f"model {model.id}", row[0], actor)
    found = select(Model).where(Model.id == model.id)
    lock = found.with_for_update().execution_options(populate_existing=True)
    return _existing(session.scalar(lock), reference)  # it may have been deleted before the lock was acquired


def _evaluation_jobs(session: Session, model_id: UUID) -> Sequence[UUID]:
    evaluated = select(Result.job_id).where(Result.job_id == Job.id).exists()
    unfinished = Job.state.not_in(TERMINAL)
    return session.scalars(
        select(Job.id)
        .where(Job.model_id == model_id, Job.kind == JobKind.EVALUATE, evaluated | unfinished)
        .order_by(Job.id)
        .limit(_MAX_JOBS_IN_ERROR + 1)
    ).all()


def spec(session: Session, reference: schemas.ModelReference) -> schemas.TrainSpec:
    """Return the spec of a model's training.

    Raises:
        ModelNotFound: there is no such model.
    """
    return schemas.TrainSpec.model_validate(find(session, reference, with_spec=True).spec)


def runnable(session: Session, reference: schemas.ModelReference) -> tuple[Model, schemas.ModelKind]:
    """Return a model with its spec, and the kind of network as which the API runs it.

    It takes one statement if the reference is an id.

    Raises:
        ModelNotFound: there is no such model.
        ModelNotRunnable: the API cannot run it.
    """
    row = find(session, reference, with_spec=True)
    if row.kind is not None:
        return row, schemas.ModelKind(row.kind)
    names = ", ".join(artifact.name for artifact in artifacts.of_model(session, row.id))
    raise ModelNotRunnable(
        f"model {row.id} is not one of the networks that the API runs: its files are {names}"
    )


def file(
    session: Session, reference: schemas.ModelReference, name: str | None = None
) -> tuple[UUID, schemas.Artifact]:
    """Return a model's id and the description of a file: by default its `.keras` file, else its first file.

    Raises:
        ModelNotFound: there is no such model.
        ArtifactNotFound: the model has no file of this name.
    """
    model_id = find(session, reference).id
    if name is None:
        names = [artifact.name for artifact in artifacts.of_model(session, model_id)]
        name = KERAS_FILE if KERAS_FILE in names else names[0]
    return model_id, artifacts.find(session, model_id, name)


def find(session: Session, reference: schemas.ModelReference, *, with_spec: bool = False) -> tables.Model:
    """Return the model with this id or alias; the first or last digits of an id suffice.

    Args:
        with_spec: whether to read the spec of its training by the same statement.

    Raises:
        ModelNotFound: there is no such model, or it was deleted.
        AmbiguousId: several models have these digits.
    """
    options = [undefer(Model.spec)] if with_spec else []
    if isinstance(reference, UUID):
        row = session.get(tables.Model, reference, options=options)
    else:
        named = select(tables.ModelAlias.model_id).where(tables.ModelAlias.alias == reference)
        chosen = select(tables.Model).where(tables.Model.id == named.scalar_subquery())
        row = session.scalar(chosen.options(*options))
        if row is None and re.fullmatch(schemas.PART_OF_ID, reference):
            row = session.get(tables.Model, find_model(session, reference))
    return _existing(row, reference)


def lock_stored(session: Session, model_ids: Collection[UUID], *, waits: bool = True) -> set[UUID]:
    """Keep models from being deleted until this transaction ends; return the ids of those that are stored.

    Args:
        waits: whether to wait for models that other transactions have locked; otherwise these are left out.
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
    trained = select(Job.id, Job.spec, Job.last_values, Job.api_key_id)
    found = session.execute(trained.where(Job.id.in_(row.id for row in rows))).all() if rows else ()
    jobs = {job.id: job for job in found}
    names = rights.names(session, [job.api_key_id for job in found])
    return [_summary(row, job := jobs[row.id], names.get(job.api_key_id)) for row in rows]


def _summary(row: tables.Model, job: Any, submitted_by: str | None) -> schemas.ModelSummary:
    layers = tuple(map(schemas.LayerSummary.model_validate, row.layers))
    return schemas.ModelSummary(
        id=row.id,
        job_id=row.id,
        dataset=job.spec.get("dataset"),
        kind=None if row.kind is None else schemas.ModelKind(row.kind),
        parameters=sum(layer.parameters for layer in layers) if layers else None,
        layers=layers,
        weights_sha256=row.weights_sha256,
        accuracy=job.last_values.get(_ACCURACY),
        created_at=row.created_at,
        alias=row.alias.alias if row.alias else None,
        description=row.description,
        api_key_id=job.api_key_id,
        submitted_by=submitted_by,
    )
