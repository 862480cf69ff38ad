"""From a client's request to a stored and dispatched job."""

from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from uuid_utils.compat import uuid7

from api.services import Services
from shared import log
from shared.broker import Hint
from shared.datasets import catalog
from shared.errors import DatasetNotFound, InvalidSpec, JobNotTerminal
from shared.lifecycle import TERMINAL
from shared.schemas import EvaluateJobCreate, EvaluateSpec, Job, JobClone, JobCreate, TrainJobCreate
from shared.store import dispatch, job_queries, models
from shared.store.submit import Idempotency, NewJob, new_evaluation, new_training, submit_job

_ANY_JOB: TypeAdapter[TrainJobCreate | EvaluateJobCreate] = TypeAdapter(JobCreate)

_log = log.get_logger(__name__)


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted.

    Attributes:
        replayed: an earlier request with the same idempotency key made it, not this one.
    """

    job: Job
    replayed: bool


def submit(services: Services, request: JobCreate, key: str | None) -> Submitted:
    """Store the job that a client asks for, and tell the workers.

    Raises:
        InvalidSpec: the dataset does not exist or has not so many images.
        ModelNotFound: there is no such model to evaluate.
        IdempotencyKeyReused: the key came with another request before.
    """
    return _submit(services, request, key, request.model_dump_json())


def _submit(services: Services, request: JobCreate, key: str | None, told: str) -> Submitted:
    if isinstance(request, TrainJobCreate):
        new = new_training(request, _describe(services, request.spec.dataset, "dataset"))
    else:
        new = _new_evaluation(services, request)
    return _store(services, new, key, told)


def retry(services: Services, job_id: UUID, key: str | None) -> Submitted:
    """Store a new job with the specification of one that is over, and tell the workers.

    Raises:
        JobNotFound: there is no such job.
        JobNotTerminal: it is not over.
        IdempotencyKeyReused: the key came with another request before.
    """
    job = services.database.read(lambda session: job_queries.get(session, job_id))
    if job.state not in TERMINAL:
        raise JobNotTerminal(f"job {job_id} is {job.state}: wait for its end, or cancel it first")
    return _store(services, _again(job), key, f"retry {job_id}")


def clone(services: Services, job_id: UUID, overrides: JobClone, key: str | None) -> Submitted:
    """Store a new job that is as another one but for what is overridden, and tell the workers.

    Raises:
        JobNotFound: there is no such job.
        RequestValidationError: what is overridden makes no sense.
        InvalidSpec, ModelNotFound, IdempotencyKeyReused: as in `submit`.
    """
    job = services.database.read(lambda session: job_queries.get(session, job_id))
    options = job.model_dump(mode="json", include={*JobClone.model_fields, "kind"})
    changed = overrides.model_dump(mode="json", exclude_unset=True)
    asked = {**options, **changed, "spec": {**options["spec"], **changed.get("spec", {})}}
    try:
        request = _ANY_JOB.validate_python(asked)
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(found, body=asked) from error
    return _submit(services, request, key, f"clone {job_id} {overrides.model_dump_json(exclude_unset=True)}")


def _new_evaluation(services: Services, request: EvaluateJobCreate) -> NewJob:
    model = services.database.read(lambda session: models.get(session, request.spec.model_id))
    spec = services.database.read(lambda session: models.spec(session, model.id))
    return new_evaluation(request, model.id, spec, _describe(services, model.dataset, "model_id"))


def _describe(services: Services, name: str, field: str) -> catalog.DatasetInfo:
    try:
        return catalog.describe(name, services.settings)
    except DatasetNotFound as error:
        raise InvalidSpec(field, str(error)) from error


def _again(job: Job) -> NewJob:
    return NewJob(
        id=uuid7(),
        kind=job.kind,
        spec=job.spec,
        name=job.name,
        tags=job.tags,
        queue=job.queue,
        priority=job.priority,
        max_attempts=job.max_attempts,
        max_runtime_s=job.max_runtime_s,
        model_id=job.spec.model_id if isinstance(job.spec, EvaluateSpec) else None,
        retry_of=job.id,
    )


def _store(services: Services, new: NewJob, key: str | None, request: str) -> Submitted:
    idempotency = Idempotency(key, sha256(request.encode()).hexdigest()) if key is not None else None
    job_id, made = services.database.write(lambda session: submit_job(session, new, idempotency=idempotency))
    if made:
        unsent = dispatch.send(services.database, services.broker, [Hint(job_id, new.queue, new.priority)])
        if unsent is not None:
            _log.warning("a job waits for the broker to answer again", job_id=str(job_id), reason=str(unsent))
    job = services.database.read(lambda session: job_queries.get(session, job_id))
    return Submitted(job, replayed=not made)
