"""Submission: completes a request to a full specification and stores the job.

What the client left out is filled in here and stored, a drawn seed too, so that every job can be run again
exactly.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import insert, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared import log
from shared.datasets.catalog import DatasetInfo
from shared.db.clock import Now, database_now
from shared.db.engine import insert_or_ignore
from shared.db.tables import Base, IdempotencyKey, Job, JobTag
from shared.errors import IdempotencyKeyReused, InvalidSpec
from shared.lifecycle import JobKind, JobState
from shared.schemas import EvaluateJobCreate, EvaluateSpec, Priority, TrainJobCreate, TrainRequest, TrainSpec
from shared.store import places
from shared.store.transitions import log_submitted

_JOBS = Base.metadata.tables[Job.__tablename__]
MAX_STEPS = 1_000_000  # optimizer updates of one job


@dataclass(frozen=True)
class NewJob:
    """A job that is to be stored.

    Attributes:
        id: a UUIDv7 drawn by the caller, so that a transaction that is run again stores one job.
        spec: the complete TrainSpec or EvaluateSpec.
        model_id: the model that an evaluation job measures.
        retry_of: the finished job that this one retries.
        sweep_id: the sweep that the job belongs to.
        request_id: id of the API request, which the worker's log lines carry too.
    """

    id: UUID
    kind: JobKind
    spec: BaseModel
    name: str | None = None
    tags: tuple[str, ...] = ()
    queue: str = "default"
    priority: Priority = Priority.NORMAL
    max_attempts: int = 3
    max_runtime_s: float | None = None
    model_id: UUID | None = None
    retry_of: UUID | None = None
    sweep_id: UUID | None = None
    request_id: str | None = field(default_factory=log.request_id)


@dataclass(frozen=True)
class Idempotency:
    """An idempotency key and the request that it stands for.

    Attributes:
        key: the client's.
        request_sha256: of the request, to notice a key that is used for two things.
    """

    key: str
    request_sha256: str

    @classmethod
    def of(cls, key: str | None, request: str) -> "Idempotency | None":
        """Return the idempotency of a request, given as text; None if the client sent no key."""
        return None if key is None else cls(key, sha256(request.encode()).hexdigest())


def submit_job(
    session: Session, new: NewJob, *, idempotency: Idempotency | None = None, now: Now = database_now
) -> tuple[UUID, bool]:
    """Store a queued job as `submit_jobs` does."""
    return submit_jobs(session, [new], idempotency=idempotency, now=now)


def submit_jobs(
    session: Session,
    new: Sequence[NewJob],
    *,
    idempotency: Idempotency | None = None,
    now: Now = database_now,
) -> tuple[UUID, bool]:
    """Store queued jobs; the caller wakes workers up after the commit. Idempotent.

    Returns:
        The first job's id, and whether this call stored the jobs. With an idempotency key that was used
        before, the id is that of the first job that was stored with it.

    Raises:
        IdempotencyKeyReused: the key was used for a different request.
    """
    first_id = new[0].id
    if idempotency is not None:
        row = {**asdict(idempotency), "job_id": first_id, "created_at": now()}
        if not insert_or_ignore(session, IdempotencyKey, row):
            used = session.get_one(IdempotencyKey, idempotency.key)
            if used.request_sha256 != idempotency.request_sha256:
                raise IdempotencyKeyReused(
                    f"idempotency key {idempotency.key!r} was used for a different request: send a new key"
                )
            return used.job_id, used.job_id == first_id
    elif session.scalar(select(Job.id).where(Job.id == first_id)) is not None:
        return first_id, True
    _insert(session, new, now)
    return first_id, True


def _insert(session: Session, new: Sequence[NewJob], now: Now) -> None:
    # one statement for all jobs, and not the ORM's, which takes twice as long
    jobs = insert(_JOBS).values(
        state=JobState.QUEUED,
        version=1,
        attempt=0,
        failures=0,
        crashes=0,
        next_epoch=0,
        scheduled_at=now(),
        place=places.of_new_job(now),
        created_at=now(),
    )
    session.execute(jobs, [_row(job) for job in new])
    log_submitted(session, [job.id for job in new], now)
    add_tags(session, {job.id: job.tags for job in new})


def _row(new: NewJob) -> dict[str, Any]:
    head_start_s = places.HEAD_START_S[Priority(new.priority)]
    spec, tags = new.spec.model_dump(mode="json"), list(new.tags)
    return {**vars(new), "spec": spec, "tags": tags, "head_start_s": head_start_s}


def new_training(request: TrainJobCreate, dataset: DatasetInfo) -> NewJob:
    """Complete a request for a training job with the defaults of its dataset and a drawn seed.

    Raises:
        InvalidSpec: the dataset has fewer images, or the job would take more than `MAX_STEPS` steps.
    """
    return _new_job(request, _train_spec(request.spec, dataset))


def new_evaluation(
    request: EvaluateJobCreate, model_id: UUID, model: TrainSpec, dataset: DatasetInfo
) -> NewJob:
    """Complete a request for an evaluation job with the settings that the model was trained with.

    Args:
        model_id: id of the model that the request names by id or alias.
        model: the specification that the model was trained with.
        dataset: the dataset that the model was trained on.

    Raises:
        InvalidSpec: the dataset has fewer images.
    """
    given, rows = request.spec, dataset.test_rows
    spec = EvaluateSpec(
        model_id=model_id,
        evaluation_size=_size("evaluation_size", given.evaluation_size, model.evaluation_size, rows),
        seed=model.seed if given.seed is None else given.seed,
        threshold=model.threshold if given.threshold is None else given.threshold,
    )
    return _new_job(request, spec, model_id=model_id)


def _train_spec(request: TrainRequest, dataset: DatasetInfo) -> TrainSpec:
    sizes = {
        field: _size(field, getattr(request, field), default, rows)
        for field, default, rows in (
            ("train_size", dataset.default_train_size, dataset.train_rows),
            ("validation_size", dataset.default_validation_size, dataset.test_rows),
            ("evaluation_size", dataset.default_evaluation_size, dataset.test_rows),
        )
    }
    seed = secrets.randbelow(2**31) if request.seed is None else request.seed
    spec = TrainSpec.model_validate({**request.model_dump(), **sizes, "seed": seed})
    if spec.epochs * spec.steps_per_epoch > MAX_STEPS:
        raise InvalidSpec(
            "epochs",
            f"{spec.epochs:,} epochs of {spec.steps_per_epoch:,} steps are more than {MAX_STEPS:,} steps: "
            "use fewer epochs or a larger batch_size",
        )
    return spec


def _size(field: str, requested: int | None, default: int, rows: int) -> int:
    if requested is not None and requested > rows:
        kind = "training" if field == "train_size" else "test"
        raise InvalidSpec(
            field, f"{field} is {requested:,}, and the dataset has {rows:,} {kind} images: request fewer"
        )
    return default if requested is None else requested


def _new_job(
    request: TrainJobCreate | EvaluateJobCreate, spec: TrainSpec | EvaluateSpec, model_id: UUID | None = None
) -> NewJob:
    return NewJob(
        id=uuid7(),
        kind=request.kind,
        spec=spec,
        name=request.name,
        tags=request.tags,
        queue=request.queue,
        priority=request.priority,
        max_attempts=request.max_attempts,
        max_runtime_s=request.max_runtime_s,
        model_id=model_id,
    )


def add_tags(session: Session, tags: Mapping[UUID, Sequence[str]]) -> None:
    """Add jobs, by id, to the index of jobs by tag."""
    rows = [{"job_id": job_id, "tag": tag} for job_id, names in tags.items() for tag in names]
    if rows:
        session.execute(insert(JobTag), rows)
