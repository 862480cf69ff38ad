"""New jobs: completion of a request to a full specification.

Settings that the client left out are filled in and stored, including a random seed, so that every job can be
run again exactly.
"""

import secrets
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.datasets.catalog import DatasetInfo
from shared.errors import InvalidSpec
from shared.formats.weights import byte_count
from shared.schemas import EvaluateJobCreate, EvaluateSpec, TrainJobCreate, TrainRequest, TrainSpec
from shared.store.submissions import NewJob

MAX_STEPS = 1_000_000  # optimizer updates of one job
MAX_KEPT_BYTES = 32 * 2**20  # of all weights that one job keeps


def new_training(request: TrainJobCreate, dataset: DatasetInfo) -> NewJob:
    """Complete a request for a training job with the defaults of its dataset and a drawn seed.

    Raises:
        InvalidSpec: the dataset has fewer images than requested, the job would take more than `MAX_STEPS`
            steps, or it would keep more than `MAX_KEPT_BYTES` of weights.
    """
    return _new_job(request, _train_spec(request.spec, dataset))


def new_evaluation(
    request: EvaluateJobCreate, model_id: UUID, model: TrainSpec, dataset: DatasetInfo
) -> NewJob:
    """Complete a request for an evaluation job with the settings of the model's training.

    Args:
        model_id: id of the model that the request names by id or alias.
        model: the specification of the model's training.
        dataset: the dataset of the model's training.

    Raises:
        InvalidSpec: the dataset has fewer images than requested.
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
    spec = TrainSpec.model_validate({**vars(request), **sizes, "seed": seed})
    if spec.epochs * spec.steps_per_epoch > MAX_STEPS:
        raise InvalidSpec(
            "epochs",
            f"{spec.epochs:,} epochs of {spec.steps_per_epoch:,} steps are more than {MAX_STEPS:,} steps: "
            "use fewer epochs or a larger batch_size",
        )
    if spec.keep_weights:
        _require_few_kept(spec)
    return spec


def _require_few_kept(spec: TrainSpec) -> None:
    an_epoch = byte_count(spec.model)
    if spec.epochs * an_epoch > MAX_KEPT_BYTES:
        raise InvalidSpec(
            "keep_weights",
            f"the weights of {spec.epochs:,} epochs, {an_epoch:,} bytes each, are more than a job may keep: "
            f"a {spec.model} model may keep those of {MAX_KEPT_BYTES // an_epoch:,} epochs",
        )


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
    after = tuple(job_id for job_id in request.after if isinstance(job_id, UUID))
    assert len(after) == len(request.after), "short ids were looked up"
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
        earliest_at=request.scheduled_at,
        after=after,
    )
