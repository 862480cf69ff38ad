"""From a sweep's request to its jobs, stored and dispatched; and the end of all of them."""

import math
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from itertools import product
from random import Random
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from api.services import Services
from shared import log
from shared.broker import Hint
from shared.datasets import catalog
from shared.errors import DatasetNotFound, InvalidSpec, JobAlreadyFinished, JobNotFound
from shared.schemas import (
    MAX_SWEEP_JOBS,
    Choices,
    GridSweepCreate,
    RandomSweepCreate,
    Range,
    SweepCreate,
    TrainJobCreate,
    TrainRequest,
)
from shared.store import dispatch, job_edits, sweeps
from shared.store.submit import Idempotency, NewJob, new_training
from shared.store.sweeps import NewSweep

_CANCELLED_AT_ONCE = 50  # jobs a transaction, so that workers are not kept waiting

_log = log.get_logger(__name__)

Combination = dict[str, Any]


def submit(services: Services, request: SweepCreate, key: str | None) -> tuple[UUID, bool]:
    """Store a sweep and all its jobs in one transaction, and tell the workers.

    Returns:
        the sweep's id, and whether this call made it; with a key that was used before it did not.

    Raises:
        InvalidSpec: a combination is not possible, or there are more than `MAX_SWEEP_JOBS`.
        IdempotencyKeyReused: the key came with another request before.
    """
    sweep_id = uuid7()
    new = NewSweep(
        sweep_id,
        request.name,
        request.model_dump(mode="json"),
        [replace(job, sweep_id=sweep_id) for job in _new_jobs(services, request)],
    )
    digest = sha256(f"sweep {request.model_dump_json()}".encode()).hexdigest()
    idempotency = None if key is None else Idempotency(key, digest)
    stored, made = services.database.write(
        lambda session: sweeps.submit(session, new, idempotency=idempotency)
    )
    if made:
        hints = [Hint(job.id, job.queue, job.priority) for job in new.jobs]
        unsent = dispatch.send(services.database, services.broker, hints)
        if unsent is not None:
            _log.warning("a sweep waits for the broker to answer again", reason=str(unsent))
    return stored, made


def cancel(services: Services, sweep_id: UUID) -> None:
    """Cancel every job of a sweep that is not over."""
    unfinished = services.database.read(lambda session: sweeps.unfinished(session, sweep_id))
    for start in range(0, len(unfinished), _CANCELLED_AT_ONCE):
        some = unfinished[start : start + _CANCELLED_AT_ONCE]
        services.database.write(partial(_cancel, job_ids=some))


def combinations(request: SweepCreate) -> Iterator[Combination]:
    """The values of each job, in an order that the request decides.

    Raises:
        InvalidSpec: there are more than `MAX_SWEEP_JOBS`, or a range holds no number.
    """
    if isinstance(request, GridSweepCreate):
        count = math.prod(map(len, request.parameters.values()))
        if count > MAX_SWEEP_JOBS:
            longest = max(request.parameters, key=lambda name: len(request.parameters[name]))
            detail = f"the grid has {count:,} combinations, and a sweep has at most {MAX_SWEEP_JOBS:,} jobs"
            raise InvalidSpec(longest, f"{detail}: name fewer values, or draw them by chance", "parameters")
        return (
            dict(zip(request.parameters, values, strict=True))
            for values in product(*request.parameters.values())
        )
    for name, values in request.parameters.items():
        if isinstance(values, Range) and not values.is_possible:
            raise InvalidSpec(name, "needs min <= max, and with log 0 < min", "parameters")
    random = Random(request.sweep_seed)
    return (_drawn(request, random) for _ in range(request.count))


def _drawn(request: RandomSweepCreate, random: Random) -> Combination:
    return {name: _value(name, values, random) for name, values in request.parameters.items()}


def _value(name: str, values: Choices | Range, random: Random) -> Any:
    if not isinstance(values, Range):
        return random.choice(values)
    if values.log:
        drawn = math.exp(random.uniform(math.log(values.min), math.log(values.max)))
    else:
        drawn = random.uniform(values.min, values.max)
    drawn = min(max(drawn, values.min), values.max)  # a logarithm and back is not exact
    return drawn if name == "learning_rate" else round(drawn)


def _new_jobs(services: Services, request: SweepCreate) -> list[NewJob]:
    # one seed for all, so that they differ in nothing but what is swept
    seed = secrets.randbelow(2**31) if request.spec.seed is None else request.spec.seed
    base = {**request.spec.model_dump(), "seed": seed}
    options = request.model_dump(include=set(TrainJobCreate.model_fields) - {"spec"})
    try:
        dataset = catalog.describe(request.spec.dataset, services.settings)
    except DatasetNotFound as error:
        raise InvalidSpec("dataset", str(error)) from error
    return [_new_job(base, options, values, dataset) for values in combinations(request)]


def _new_job(
    base: Combination, options: dict[str, Any], values: Combination, dataset: catalog.DatasetInfo
) -> NewJob:
    try:
        spec = TrainRequest.model_validate({**base, **values})
        return new_training(TrainJobCreate(**options, spec=spec), dataset)
    except ValidationError as error:
        found = error.errors()[0]
        field = str(found["loc"][0])
        raise InvalidSpec(field, f"{values[field]!r}: {found['msg']}", "parameters") from error
    except InvalidSpec as error:
        part = "parameters" if error.field in values else "spec"
        raise InvalidSpec(error.field, str(error), part) from error


def _cancel(session: Session, job_ids: Sequence[UUID]) -> None:
    for job_id in job_ids:
        with suppress(JobAlreadyFinished, JobNotFound):  # meanwhile
            job_edits.request_cancel(session, job_id)
