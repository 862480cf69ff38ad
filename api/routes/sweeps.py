"""Sweeps of training jobs: submit, list, get, cancel."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Response

from api.deps import ENDS_WAITS, IdempotencyKey, ObjectiveDep, ServicesDep, id_in_path
from api.http.auth import READ, SUBMIT, ActorDep, SubmittedByDep, SubmitterDep
from api.http.headers import REPLAYED
from api.http.paging import Cursors, PageDep
from api.http.problems import BODY, documented
from api.jobs.sweeps import cancel, submit
from shared.errors import (
    IdempotencyKeyReused,
    InvalidCursor,
    InvalidSpec,
    JobNotFound,
    PredecessorFailed,
    SubmissionDeleted,
    SweepNotFound,
    TooManyWait,
    UnknownMetric,
)
from shared.schemas import Page, Sweep, SweepCreate, SweepDetail
from shared.store import references, sweeps
from shared.store.keyset import CreationKey
from shared.store.sweeps import Objective

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"])

_CURSORS = Cursors("sweeps", CreationKey)

SweepId = Annotated[UUID, id_in_path("sweep_id", "sweep", references.find_sweep)]

_EXAMPLES = {
    "grid": {
        "summary": "Every combination of values",
        "value": {
            "strategy": "grid",
            "parameters": {"learning_rate": [0.0003, 0.001, 0.003], "batch_size": [128, 512]},
            "spec": {"epochs": 5},
            "name": "learning rates",
        },
    },
    "random": {
        "summary": "Twenty random combinations",
        "value": {
            "strategy": "random",
            "count": 20,
            "sweep_seed": 1,
            "parameters": {
                "learning_rate": {"min": 0.0001, "max": 0.1, "log": True},
                "optimizer": ["adam", "rmsprop"],
            },
        },
    },
}


@router.post(
    "",
    dependencies=[SUBMIT],
    status_code=202,
    responses=documented(
        *BODY,
        JobNotFound,
        InvalidSpec,
        IdempotencyKeyReused,
        SubmissionDeleted,
        PredecessorFailed,
        TooManyWait,
    ),
)
def submit_sweep(
    services: ServicesDep,
    submitter: SubmitterDep,
    request: Annotated[SweepCreate, Body(openapi_examples=_EXAMPLES)],
    response: Response,
    key: IdempotencyKey = None,
) -> SweepDetail:
    """Submit a sweep of up to 1,000 training jobs, all or none. They share one seed, unless it is swept."""
    sweep_id, stored = submit(services, submitter, request, key)
    response.headers.update({"Location": f"/v1/sweeps/{sweep_id}", **({} if stored else REPLAYED)})
    return _detail(services, sweep_id, Objective.of())


@router.get("", dependencies=[READ], responses=documented(InvalidCursor, UnknownMetric))
def list_sweeps(
    services: ServicesDep,
    query: PageDep,
    submitted_by: SubmittedByDep,
    objective: ObjectiveDep,
) -> Page[Sweep]:
    """List the sweeps, newest first, each with its best job."""
    rows = partial(sweeps.page, objective=objective, submitted_by=submitted_by)
    return _CURSORS.read(services.database, query, rows)


@router.get("/{sweep_id}", dependencies=[READ], responses=documented(SweepNotFound, UnknownMetric))
def get_sweep(services: ServicesDep, sweep_id: SweepId, objective: ObjectiveDep) -> SweepDetail:
    """Get a sweep and its jobs, best first."""
    return _detail(services, sweep_id, objective)


@router.post("/{sweep_id}/cancel", dependencies=[SUBMIT, ENDS_WAITS], responses=documented(SweepNotFound))
def cancel_sweep(services: ServicesDep, actor: ActorDep, sweep_id: SweepId) -> SweepDetail:
    """Cancel the unfinished jobs of a sweep: queued ones at once, running ones within seconds. Idempotent."""
    cancel(services, actor, sweep_id)
    return _detail(services, sweep_id, Objective.of())


def _detail(services: ServicesDep, sweep_id: UUID, objective: Objective) -> SweepDetail:
    return services.database.read(lambda session: sweeps.detail(session, sweep_id, objective))
