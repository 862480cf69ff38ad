"""Fills in what a client left out of a job, so that what is stored can be run again exactly."""

import secrets
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.datasets import DatasetInfo
from shared.errors import InvalidSpec
from shared.jobs import NewJob
from shared.schemas import (
    EvaluateJobCreate,
    EvaluateSpec,
    TrainJobCreate,
    TrainRequest,
    TrainSpec,
)

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
