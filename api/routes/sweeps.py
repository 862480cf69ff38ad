"""Sweeps: many training jobs that differ in some parameters, submitted, compared and cancelled together."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Path, Query, Response

from api.deps import IdempotencyKey, ServicesDep
from api.http.problems import MALFORMED_JSON, NOT_JSON, TOO_LARGE, documented
from api.jobs.sweeps import cancel, submit
from shared.errors import IdempotencyKeyReused, InvalidSpec, SweepNotFound
from shared.schemas import Objective, SweepCreate, SweepDetail, SweepPage
from shared.store import sweeps

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"])

SweepId = Annotated[UUID, Path(description="The sweep's id, as POST /v1/sweeps answered it.")]
By = Annotated[Objective, Query(alias="metric", description="What the jobs are compared by.")]

_EXAMPLES = {
    "grid": {
        "summary": "Every combination",
        "value": {
            "strategy": "grid",
            "parameters": {"learning_rate": [0.0003, 0.001, 0.003], "batch_size": [128, 512]},
            "spec": {"epochs": 5},
            "name": "how fast may it learn",
        },
    },
    "random": {
        "summary": "Twenty drawn by chance",
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
    status_code=202,
    responses=documented(MALFORMED_JSON, TOO_LARGE, NOT_JSON, InvalidSpec, IdempotencyKeyReused),
)
def submit_sweep(
    services: ServicesDep,
    request: Annotated[SweepCreate, Body(openapi_examples=_EXAMPLES)],
    response: Response,
    key: IdempotencyKey = None,
) -> SweepDetail:
    """Submit up to 1,000 training jobs, all or none; one seed for all, unless seeds are swept."""
    sweep_id, made = submit(services, request, key)
    response.headers["Location"] = f"/v1/sweeps/{sweep_id}"
    if not made:
        response.headers["Idempotency-Replayed"] = "true"
    return _detail(services, sweep_id, "evaluation_accuracy")


@router.get("", responses=documented())
def list_sweeps(
    services: ServicesDep,
    metric: By = "evaluation_accuracy",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[UUID | None, Query(description="`next_cursor` of the page before.")] = None,
) -> SweepPage:
    """Sweeps, newest first, each with its best job."""
    found = services.database.read(
        lambda session: sweeps.page(session, metric, limit=limit + 1, before=cursor)
    )
    page, has_more = found[:limit], len(found) > limit
    return SweepPage(data=page, has_more=has_more, next_cursor=str(page[-1].id) if has_more else None)


@router.get("/{sweep_id}", responses=documented(SweepNotFound))
def get_sweep(services: ServicesDep, sweep_id: SweepId, metric: By = "evaluation_accuracy") -> SweepDetail:
    """A sweep and its jobs, the best first."""
    return _detail(services, sweep_id, metric)


@router.post("/{sweep_id}/cancel", responses=documented(SweepNotFound))
def cancel_sweep(services: ServicesDep, sweep_id: SweepId) -> SweepDetail:
    """Cancel every job of a sweep that is not over: queued ones at once, running ones within seconds."""
    _detail(services, sweep_id, "evaluation_accuracy")
    cancel(services, sweep_id)
    return _detail(services, sweep_id, "evaluation_accuracy")


def _detail(services: ServicesDep, sweep_id: UUID, metric: Objective) -> SweepDetail:
    return services.database.read(lambda session: sweeps.detail(session, sweep_id, metric))
