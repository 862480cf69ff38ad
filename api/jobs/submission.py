"""Submission of jobs: from a client's request to a stored and dispatched job."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar, cast
from uuid import UUID

from anyio import to_thread
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from api.services import Services
from shared.datasets import catalog
from shared.errors import DatasetNotFound, InvalidSpec, JobNotFound, JobNotTerminal, RequestError
from shared.lifecycle import TERMINAL, JobKind
from shared.schemas import (
    EvaluateJobCreate,
    EvaluateSpec,
    Job,
    JobClone,
    JobCreate,
    TrainJobCreate,
    TrainSpec,
)
from shared.schemas.ids import is_part
from shared.settings import Settings
from shared.store import job_queries, models, references
from shared.store.idempotency import Idempotency, KeyOwner, deleted, find_replay
from shared.store.new_jobs import new_evaluation, new_training
from shared.store.submissions import NewJob, NewJobs, Submitter

R = TypeVar("R", bound=TrainJobCreate | EvaluateJobCreate)


@dataclass(frozen=True)
class Submission:
    """A submitted job.

    Attributes:
        replayed: whether an earlier request with the same idempotency key has submitted the job.
    """

    job: Job
    replayed: bool


async def submit(services: Services, submitter: Submitter, request: JobCreate, key: str | None) -> Submission:
    """Store and dispatch the job that a client requests.

    Raises:
        InvalidSpec: the dataset does not exist, or has fewer images than the job needs.
        ModelNotFound: the model to evaluate does not exist.
        NotPermitted: the job is urgent, and the submitter may not submit urgent jobs.
        JobNotFound: a job in `after` does not exist.
        AmbiguousId: a part of an id in the request matches several jobs or models.
        IdempotencyKeyReused: the key was used for a different request.
        SubmissionDeleted: the job that was submitted with the key was deleted since.
        NotCommitted: the database takes too long.
    """
    idempotency = Idempotency.of(key, text_of(request), submitter.api_key_id) if key else None
    try:
        if isinstance(request, TrainJobCreate) and _has_whole_ids(request):
            new = _new_training(services, request)
        else:
            new = await to_thread.run_sync(complete, services, request)
        jobs = NewJobs([new], idempotency, submitter=submitter)
    except RequestError as refusal:
        earlier = await to_thread.run_sync(earlier_or_raise, services, idempotency, refusal)
        return await to_thread.run_sync(_replayed, services, earlier.job_id)
    receipt = await services.submissions.submit_async(jobs)
    if receipt.created_at is not None:
        return _stored(jobs, receipt.created_at)
    return await to_thread.run_sync(_replayed, services, receipt.job_id)


def retry(services: Services, submitter: Submitter, job_id: UUID, key: str | None) -> Submission:
    """Store and dispatch a new job with the specification of a finished one.

    Raises:
        JobNotFound: the job does not exist.
        JobNotTerminal: the job is not finished.
        IdempotencyKeyReused, SubmissionDeleted: as in `submit`.
    """
    idempotency = Idempotency.of(key, f"retry {job_id}", submitter.api_key_id)
    try:
        jobs = NewJobs([_retry_of(_finished(services, job_id))], idempotency, submitter=submitter)
    except RequestError as refusal:
        return _replayed(services, earlier_or_raise(services, idempotency, refusal).job_id)
    return _store(services, jobs)


def clone(
    services: Services, submitter: Submitter, job_id: UUID, overrides: JobClone, key: str | None
) -> Submission:
    """Store and dispatch a new job that differs from an existing one by the overrides.

    Raises:
        JobNotFound: the job does not exist.
        ValidationError: an override is not possible for a job of this kind.
        InvalidSpec, ModelNotFound, IdempotencyKeyReused, SubmissionDeleted: as in `submit`.
    """
    request = f"clone {job_id} {overrides.model_dump_json(exclude_unset=True)}"
    idempotency = Idempotency.of(key, request, submitter.api_key_id)
    try:
        job = services.database.read(lambda session: job_queries.summary(session, job_id))
        new = complete(services, request_like(job, overrides))
        jobs = NewJobs([new], idempotency, submitter=submitter)
    except RequestError as refusal:
        return _replayed(services, earlier_or_raise(services, idempotency, refusal).job_id)
    return _store(services, jobs)


def earlier_or_raise(services: Services, idempotency: Idempotency | None, refusal: RequestError) -> KeyOwner:
    """Return the submission of an earlier request with the same key, or raise the refusal if there is none.

    For a request that was refused before the store looked up its key. A repeated request does not need the
    objects that the first one needed, such as a job or a model that was deleted since.
    """
    if idempotency is not None:
        earlier = services.database.read(partial(find_replay, idempotency=idempotency))
        if earlier is not None:
            return earlier
    raise refusal


def text_of(request: TrainJobCreate | EvaluateJobCreate) -> str:
    """Return the text by which a repetition of a request is recognized, the same in all versions of the API.

    A field that earlier versions did not have is therefore left out if it has its default.
    """
    later: dict[str, Any] = {}
    if isinstance(request, TrainJobCreate) and not request.spec.keep_weights:
        later["spec"] = {"keep_weights"}
    later |= {name: True for name in ("scheduled_at", "after") if not getattr(request, name)}
    return request.model_dump_json(exclude=later)


def request_like(job: Job, overrides: JobClone | None = None) -> JobCreate:
    """Return a request for a job that differs from an existing one by the overrides.

    Raises:
        ValidationError: an override is not possible for a job of this kind.
    """
    source = job.model_dump(mode="json", include={*JobClone.model_fields, "kind"})
    changes = overrides.model_dump(mode="json", exclude_unset=True) if overrides else {}
    spec = {**source["spec"], **changes.get("spec", {})}
    schema = TrainJobCreate if job.kind == JobKind.TRAIN else EvaluateJobCreate
    return schema.model_validate({**source, **changes, "spec": spec})


def complete(services: Services, request: JobCreate) -> NewJob:
    """Return the job that a request describes, with omitted fields filled in, without storing it.

    Raises:
        InvalidSpec, ModelNotFound, JobNotFound, AmbiguousId: as in `submit`.
    """
    request = with_whole_ids(services, request)
    if isinstance(request, TrainJobCreate):
        return _new_training(services, request)
    return _new_evaluation(services, request)


def with_whole_ids(services: Services, request: R) -> R:
    """Return a request with whole ids in `after`, instead of parts of ids.

    Raises:
        JobNotFound, AmbiguousId: as in `submit`.
    """
    if _has_whole_ids(request):
        return request
    after = services.database.read(partial(references.find_jobs, references=request.after))
    return cast(R, request.model_copy(update={"after": after}))


def _has_whole_ids(request: TrainJobCreate | EvaluateJobCreate) -> bool:
    return all(isinstance(job_id, UUID) for job_id in request.after)


def describe_dataset(settings: Settings, name: str, *, field: str) -> catalog.DatasetInfo:
    """Return a dataset's sizes and classes.

    Args:
        field: the field of the job's specification that names the dataset, for the error.

    Raises:
        InvalidSpec: no such dataset is configured.
    """
    try:
        return catalog.describe(name, settings)
    except DatasetNotFound as error:
        raise InvalidSpec(field, str(error)) from error


def _finished(services: Services, job_id: UUID) -> Job:
    job = services.database.read(lambda session: job_queries.summary(session, job_id))
    if job.state not in TERMINAL:
        raise JobNotTerminal(f"job {job_id} is {job.state}: wait until it has finished, or cancel it first")
    return job


def _new_training(services: Services, request: TrainJobCreate) -> NewJob:
    dataset = describe_dataset(services.settings, request.spec.dataset, field="dataset")
    return new_training(request, dataset)


def _new_evaluation(services: Services, request: EvaluateJobCreate) -> NewJob:
    model_id, training = services.database.read(partial(_model_to_evaluate, request=request))
    dataset = describe_dataset(services.settings, training.dataset, field="model_id")
    return new_evaluation(request, model_id, training, dataset)


def _model_to_evaluate(session: Session, request: EvaluateJobCreate) -> tuple[UUID, TrainSpec]:
    """Return the id and training specification of a model, which a job in `after` may still have to train."""
    reference = request.spec.model_id
    if trainer := _named_of(request.after, reference):
        job = job_queries.summary(session, trainer)
        if isinstance(job.spec, TrainSpec):
            return job.model_id or job.id, job.spec
    model = models.find(session, reference, with_spec=True)
    return model.id, TrainSpec.model_validate(model.spec)


def _named_of(after: Sequence[UUID | str], reference: UUID | str) -> UUID | None:
    """Return the job in `after` that a reference to a model names, or None if it names none of them."""
    for job_id in after:
        if isinstance(job_id, UUID) and (job_id == reference or is_part(str(reference), job_id)):
            return job_id
    return None


def _retry_of(job: Job) -> NewJob:
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


def _store(services: Services, jobs: NewJobs) -> Submission:
    receipt = services.submissions.submit(jobs)
    if receipt.created_at is not None:
        return _stored(jobs, receipt.created_at)
    return _replayed(services, receipt.job_id)


def _stored(jobs: NewJobs, created_at: datetime) -> Submission:
    [new] = jobs.jobs
    job = job_queries.newly_queued(new, jobs.submitter.tenant, created_at, jobs.submitter.actor)
    return Submission(job, replayed=False)


def _replayed(services: Services, job_id: UUID) -> Submission:
    try:
        job = services.database.read(lambda session: job_queries.summary(session, job_id))
    except JobNotFound:
        raise deleted("job") from None
    return Submission(job, replayed=True)
