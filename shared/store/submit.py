"""What clients do with jobs: submit them, and ask for their end.

Every function takes an open transaction (`Database.write`) and may be run again after a lost connection, when
it is not known whether the first run was committed: it then finds its own work done, and does nothing.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import insert
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared import log
from shared.datasets.catalog import DatasetInfo
from shared.db.clock import Now, database_now
from shared.db.engine import insert_or_ignore
from shared.db.tables import IdempotencyKey, Job, JobTag
from shared.errors import (
    IdempotencyKeyReused,
    InvalidSpec,
)
from shared.lifecycle import EventType, JobState
from shared.schemas import (
    EvaluateJobCreate,
    EvaluateSpec,
    Priority,
    TrainJobCreate,
    TrainRequest,
    TrainSpec,
)
from shared.store.transitions import log_event


@dataclass(frozen=True)
class NewJob:
    """What a job is made of, before it has a life.

    Attributes:
        id: drawn by the caller (UUIDv7), so that submitting twice makes one job.
        spec: the complete TrainSpec or EvaluateSpec.
        model_id: the model that an evaluation job measures.
        retry_of: the finished job that this one repeats.
        sweep_id: the sweep that this job is one of.
        request_id: of the API's request that makes it, which the worker's log lines then carry.
    """

    id: UUID
    kind: str
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
    """A client's promise that requests with one key are one request.

    Attributes:
        key: the client's.
        request_sha256: of the request, to notice a key that is used for two things.
    """

    key: str
    request_sha256: str


def submit_job(
    session: Session, new: NewJob, *, idempotency: Idempotency | None = None, now: Now = database_now
) -> tuple[UUID, bool]:
    """Store a job, `queued` and marked as dispatched: the caller sends it to the broker after the commit.

    Returns:
        the job's id, and whether this call made it: with an idempotency key that was used before, the id is
        the first one's.

    Raises:
        IdempotencyKeyReused: the key came with another request before.
    """
    if idempotency is not None:
        taken = not insert_or_ignore(
            session,
            IdempotencyKey,
            {
                "key": idempotency.key,
                "request_sha256": idempotency.request_sha256,
                "job_id": new.id,
                "created_at": now(),
            },
        )
        if taken:
            first = session.get_one(IdempotencyKey, idempotency.key)
            if first.request_sha256 != idempotency.request_sha256:
                raise IdempotencyKeyReused(
                    f"idempotency key {idempotency.key!r} came with another request before: take a new one"
                )
            return first.job_id, first.job_id == new.id
    elif session.get(Job, new.id) is not None:
        return new.id, True
    _insert(session, new, now)
    return new.id, True


def _insert(session: Session, new: NewJob, now: Now) -> None:
    job = Job(
        id=new.id,
        kind=new.kind,
        state=JobState.QUEUED,
        spec=new.spec.model_dump(mode="json"),
        name=new.name,
        tags=list(new.tags),
        queue=new.queue,
        priority=new.priority,
        retry_of=new.retry_of,
        sweep_id=new.sweep_id,
        model_id=new.model_id,
        request_id=new.request_id,
        version=1,
        attempt=0,
        failures=0,
        crashes=0,
        max_attempts=new.max_attempts,
        max_runtime_s=new.max_runtime_s,
        scheduled_at=now(),
        dispatched_at=now(),
        created_at=now(),
        next_epoch=0,
    )
    session.add(job)
    session.flush()
    add_tags(session, new.id, new.tags)
    log_event(session, new.id, 1, EventType.SUBMITTED, 0, {}, now)


MAX_STEPS = 1_000_000


def new_training(request: TrainJobCreate, dataset: DatasetInfo) -> NewJob:
    """A training job in full.

    Raises:
        InvalidSpec: the dataset has not so many images, or the job would take more than `MAX_STEPS` steps.
    """
    return _new_job(request, _train_spec(request.spec, dataset))


def new_evaluation(
    request: EvaluateJobCreate, model_id: UUID, model: TrainSpec, dataset: DatasetInfo
) -> NewJob:
    """An evaluation job in full; what is left out is as in the evaluation at the end of the model's training.

    Args:
        model_id: of the model that the request names by its id or alias.
        model: what the model was trained with.
        dataset: the one it was trained on.

    Raises:
        InvalidSpec: the dataset has not so many images.
    """
    asked = request.spec
    spec = EvaluateSpec(
        model_id=model_id,
        evaluation_size=_size(
            "evaluation_size", asked.evaluation_size, model.evaluation_size, dataset.test_rows
        ),
        seed=model.seed if asked.seed is None else asked.seed,
        threshold=model.threshold if asked.threshold is None else asked.threshold,
    )
    return _new_job(request, spec, model_id=model_id)


def _train_spec(asked: TrainRequest, dataset: DatasetInfo) -> TrainSpec:
    sizes = {
        field: _size(field, getattr(asked, field), default, rows)
        for field, default, rows in (
            ("train_size", dataset.default_train_size, dataset.train_rows),
            ("validation_size", dataset.default_validation_size, dataset.test_rows),
            ("evaluation_size", dataset.default_evaluation_size, dataset.test_rows),
        )
    }
    seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
    spec = TrainSpec.model_validate({**asked.model_dump(), **sizes, "seed": seed})
    if spec.epochs * spec.steps_per_epoch > MAX_STEPS:
        raise InvalidSpec(
            "epochs",
            f"{spec.epochs:,} epochs of {spec.steps_per_epoch:,} steps are more than {MAX_STEPS:,} steps: "
            "use fewer epochs or a larger batch_size",
        )
    return spec


def _size(field: str, asked: int | None, default: int, rows: int) -> int:
    if asked is not None and asked > rows:
        kind = "training" if field == "train_size" else "test"
        raise InvalidSpec(
            field, f"{field} is {asked:,}, and the dataset has {rows:,} {kind} images: ask for fewer"
        )
    return default if asked is None else asked


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


def add_tags(session: Session, job_id: UUID, tags: Sequence[str]) -> None:
    """Let a job be found by tags that it has not had."""
    if tags:
        session.execute(insert(JobTag), [{"job_id": job_id, "tag": tag} for tag in tags])
