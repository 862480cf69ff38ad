"""Sweeps: from a client's request to stored and dispatched jobs, and the cancellation of a sweep's jobs."""

import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from itertools import product
from random import Random
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from api.jobs.submission import describe_dataset, earlier_or_raise, text_of, with_whole_ids
from api.services import Services
from shared.datasets.catalog import DatasetInfo
from shared.errors import InvalidSpec, JobAlreadyFinished, JobNotFound, NotFound, RequestError
from shared.schemas import (
    MAX_SWEEP_JOBS,
    Choices,
    GridSweepCreate,
    Range,
    SweepCreate,
    TrainJobCreate,
    TrainRequest,
)
from shared.schemas.limits import properties
from shared.schemas.refusals import in_words
from shared.store import job_edits, job_queries, sweeps
from shared.store.idempotency import Idempotency, deleted
from shared.store.new_jobs import new_training
from shared.store.rights import Actor
from shared.store.submissions import NewJob, NewJobs, NewSweep, Submitter

_MAX_CANCELS_PER_TRANSACTION = 50  # SQLite has one writer at a time, and workers must not wait for it long

Parameters = dict[str, Any]


def submit(
    services: Services, submitter: Submitter, request: SweepCreate, key: str | None
) -> tuple[UUID, bool]:
    """Store a sweep and all its jobs in one transaction, and dispatch them.

    Returns:
        The sweep's id, and whether this call stored the sweep: False if an earlier request used the same key.

    Raises:
        InvalidSpec: a combination of parameters is impossible, or there are more than `MAX_SWEEP_JOBS`.
        IdempotencyKeyReused: the key was used for a different request.
        SubmissionDeleted: the sweep that was submitted with the key was deleted since.
    """
    idempotency = Idempotency.of(key, f"sweep {text_of(request)}", submitter.api_key_id)
    try:
        jobs = _new_jobs(services, with_whole_ids(services, request))
        sweep = NewSweep(uuid7(), request.name, request.model_dump(mode="json"))
        new = NewJobs([replace(job, sweep_id=sweep.id) for job in jobs], idempotency, sweep, submitter)
    except RequestError as refusal:
        earlier = earlier_or_raise(services, idempotency, refusal)
        return _replayed(services, earlier.job_id, earlier.sweep_id), False
    receipt = services.submissions.submit(new)
    if not receipt.replayed:
        return sweep.id, True
    return _replayed(services, receipt.job_id, receipt.sweep_id), False


def cancel(services: Services, actor: Actor, sweep_id: UUID) -> None:
    """Cancel the unfinished jobs of a sweep.

    Raises:
        SweepNotFound: there is no such sweep.
        NotPermitted: the sweep belongs to others.
    """
    unfinished = services.database.read(lambda session: sweeps.cancellable(session, sweep_id, actor))
    for start in range(0, len(unfinished), _MAX_CANCELS_PER_TRANSACTION):
        batch = unfinished[start : start + _MAX_CANCELS_PER_TRANSACTION]
        services.database.write(partial(_cancel, job_ids=batch, actor=actor))


def combinations(request: SweepCreate) -> Iterator[Parameters]:
    """Yield the parameters of each job, in an order that depends on the request alone.

    Raises:
        InvalidSpec: there are more than `MAX_SWEEP_JOBS` jobs, or equal ones, or a range is empty.
    """
    if isinstance(request, GridSweepCreate):
        for name, choices in request.parameters.items():
            if repeated := [value for value in choices if choices.count(value) > 1]:
                detail = f"must be different values: {repeated[0]} would be the value of equal jobs"
                raise InvalidSpec(name, detail, "parameters")
        count = math.prod(map(len, request.parameters.values()))
        if count > MAX_SWEEP_JOBS:
            longest = max(request.parameters, key=lambda name: len(request.parameters[name]))
            detail = f"the grid has {count:,} combinations, and a sweep has at most {MAX_SWEEP_JOBS:,} jobs"
            raise InvalidSpec(longest, f"{detail}: use fewer values, or a random sweep", "parameters")
        return (
            dict(zip(request.parameters, values, strict=True))
            for values in product(*request.parameters.values())
        )
    for name, values in request.parameters.items():
        if isinstance(values, Range) and not values.is_possible:
            raise InvalidSpec(name, "must have min <= max, and with log 0 < min", "parameters")
    random = Random(request.sweep_seed)
    parameters = request.parameters.items()
    return ({name: _draw(name, values, random) for name, values in parameters} for _ in range(request.count))


def _replayed(services: Services, job_id: UUID, sweep_id: UUID | None) -> UUID:
    """Return the id of the sweep that a key submitted; versions before 0.2 stored only its first job's id."""

    def find(session: Session) -> UUID:
        found = sweep_id or job_queries.summary(session, job_id).sweep_id
        assert found is not None, "the request that the key stands for was a sweep's"
        sweeps.request(session, found)
        return found

    try:
        return services.database.read(find)
    except NotFound:
        raise deleted("sweep") from None


def _draw(name: str, values: Choices | Range, random: Random) -> Any:
    if not isinstance(values, Range):
        return random.choice(values)
    if values.log:
        value = math.exp(random.uniform(math.log(values.min), math.log(values.max)))
    else:
        value = random.uniform(values.min, values.max)
    value = min(max(value, values.min), values.max)  # exp(log(x)) is not exactly x
    is_whole = properties(TrainRequest)[name].get("type") == "integer"
    return round(value) if is_whole else value


def _new_jobs(services: Services, request: SweepCreate) -> list[NewJob]:
    # one seed for all, so that the jobs differ only in the swept parameters
    seed = secrets.randbelow(2**31) if request.spec.seed is None else request.spec.seed
    base = {**request.spec.model_dump(), "seed": seed}
    options = request.model_dump(include=set(TrainJobCreate.model_fields) - {"spec"})
    described = cache(partial(describe_dataset, services.settings, field="dataset"))
    return [_new_job(base, options, parameters, described) for parameters in combinations(request)]


def _new_job(
    base: dict[str, Any],
    options: dict[str, Any],
    parameters: Parameters,
    described: Callable[[str], DatasetInfo],
) -> NewJob:
    try:
        spec = TrainRequest.model_validate({**base, **parameters})
        return new_training(TrainJobCreate(**options, spec=spec), described(spec.dataset))
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        raise InvalidSpec(field, f"{in_words(first)}, not {parameters[field]}", "parameters") from error
    except InvalidSpec as error:
        part = "parameters" if error.field in parameters else "spec"
        raise InvalidSpec(error.field, str(error), part) from error


def _cancel(session: Session, job_ids: Sequence[UUID], actor: Actor) -> None:
    for job_id in job_ids:
        with suppress(JobAlreadyFinished, JobNotFound):  # the job ended or was deleted since the read
            job_edits.request_cancel(session, job_id, actor=actor)
