"""What operators and orchestrators ask: does it live, is it ready, which version is it."""

from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from api.deps import ServicesDep
from api.http.problems import documented
from api.monitoring.prometheus import RequestTimes, jobs_exposition
from shared.broker import Broker, BrokerUnavailable
from shared.db.engine import Database

router = APIRouter(tags=["health"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Check(BaseModel):
    """Whether one thing that the API needs is there; `detail` says what to do if not."""

    ok: bool
    detail: str = "ok"


class Readiness(BaseModel):
    """Whether requests can be served."""

    ready: bool
    checks: dict[Literal["database", "migrations", "redis"], Check]


class Version(BaseModel):
    """Which code answers."""

    version: str


@router.get("/livez")
def livez() -> Live:
    """Whether the process lives; nothing else is looked at."""
    return Live()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready; `checks` says why"}})
def readyz(services: ServicesDep, response: Response) -> Readiness:
    """Whether the database answers and has this version's schema, and Redis answers."""
    checks = {**_check_database(services.database), "redis": _check_redis(services.broker)}
    ready = all(check.ok for check in checks.values())
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, checks=checks)


@router.get("/version")
def get_version() -> Version:
    """The version of the code that answers."""
    return Version(version=version("trainshed"))


def _check_database(database: Database) -> dict[Literal["database", "migrations", "redis"], Check]:
    try:
        migrated = database.is_migrated()
    except SQLAlchemyError:
        down = "the database does not answer: start it, or correct TRAINSHED_DATABASE_URL"
        return {
            "database": Check(ok=False, detail=down),
            "migrations": Check(ok=False, detail="unknown until the database answers"),
        }
    outdated = "the schema is not this version's: run `trainshed migrate`"
    migrations = Check(ok=True) if migrated else Check(ok=False, detail=outdated)
    return {"database": Check(ok=True), "migrations": migrations}


def _check_redis(broker: Broker) -> Check:
    try:
        broker.ping()
    except BrokerUnavailable:
        down = "Redis does not answer: start it, or correct TRAINSHED_REDIS_URL; jobs are taken, and wait"
        return Check(ok=False, detail=down)
    return Check(ok=True)


_TEXT = {"text/plain": {"schema": {"type": "string"}}}


@router.get(
    "/metrics",
    response_class=Response,
    responses={**documented(), 200: {"description": "Prometheus's text format", "content": _TEXT}},
)
def scrape(request: Request, services: ServicesDep) -> Response:
    """Jobs, workers and requests in numbers, for Prometheus."""
    times: RequestTimes = request.app.state.request_times
    body = jobs_exposition(services.database, services.tally) + times.exposition()
    return Response(body, media_type=CONTENT_TYPE_PLAIN_0_0_4)
