"""Health of the process for orchestrators, and metrics for Prometheus."""

from importlib.metadata import version

from anyio import to_thread
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy.exc import SQLAlchemyError

from api.deps import (
    DelivererDep,
    JobCountersDep,
    OpenThreadsDep,
    ProcessMetricsDep,
    RequestTimesDep,
    ScrapeDep,
    ServicesDep,
)
from api.http.auth import OPEN, READ
from api.http.problems import documented
from api.monitoring.dependencies import dependencies_exposition
from api.monitoring.prometheus import deliveries_exposition, jobs_exposition
from api.services import Services
from shared.broker import Broker, BrokerUnavailable
from shared.db.engine import Database
from shared.db.outages import MEANINGS, reason_of
from shared.schemas import Check, Dependency, Live, Readiness, Version

router = APIRouter(tags=["health"])

_TEXT = {"text/plain": {"schema": {"type": "string"}}}


# a coroutine, as is its authorization: it responds even while every thread is busy with slow requests
@router.get("/livez", dependencies=[OPEN])
async def livez() -> Live:
    """Report that the process is alive; nothing else is checked."""
    return Live()


@router.get(
    "/readyz",
    dependencies=[OPEN],
    responses={503: {"model": Readiness, "description": "Not ready: `checks` has the reasons"}},
)
async def readyz(services: ServicesDep, threads: OpenThreadsDep, response: Response) -> Readiness:
    """Check that the database is available and migrated, and that Redis can be used.

    The schema of a newer version is accepted, so that an upgrade can begin with the database. Without Redis
    its check fails, but the API is still ready: requests are served, and only jobs start later. The API is
    also ready while some requests fail, for example because of a full disk: for a minute, the check of the
    database gives the reason.
    """
    readiness = await to_thread.run_sync(_check, services, limiter=threads)
    response.status_code = 200 if readiness.ready else 503
    return readiness


@router.get("/version", dependencies=[OPEN])
async def get_version() -> Version:
    """Get the version of the API."""
    return Version(version=version("trainshed"))


def _check(services: Services) -> Readiness:
    required = _check_database(services.database)
    ready = all(check.ok for check in required.values())
    if ready and (reason := services.database.outages.lately()):
        # still ready: other requests succeed, such as reads, but would fail if no replica were ready
        detail = f"requests failed in the last minute, since {MEANINGS[reason]}"
        required[Dependency.DATABASE] = Check(ok=False, detail=detail)
    return Readiness(ready=ready, checks={**required, Dependency.REDIS: _check_redis(services.broker)})


def _check_database(database: Database) -> dict[Dependency, Check]:
    try:
        refusal, step = database.version_refusal(), database.missing_step()
    except SQLAlchemyError as error:
        return {
            Dependency.DATABASE: Check(ok=False, detail=MEANINGS[reason_of(error)]),
            Dependency.MIGRATIONS: Check(ok=False, detail="unknown while the database is unavailable"),
        }
    if refusal:
        migrations = Check(ok=False, detail=refusal)
    elif step:
        migrations = Check(ok=False, detail=f"the schema is that of an older version: {step}")
    else:
        migrations = Check(ok=True)
    return {Dependency.DATABASE: Check(ok=True), Dependency.MIGRATIONS: migrations}


def _check_redis(broker: Broker) -> Check:
    try:
        broker.check()
    except BrokerUnavailable as error:
        return Check(ok=False, detail=f"{error}; jobs start late, or wait")
    return Check(ok=True)


@router.get(
    "/metrics",
    dependencies=[READ],
    response_class=Response,
    responses={**documented(), 200: {"description": "Prometheus's text format", "content": _TEXT}},
)
async def scrape(
    services: ServicesDep,
    counters: JobCountersDep,
    times: RequestTimesDep,
    process: ProcessMetricsDep,
    deliverer: DelivererDep,
    shared: ScrapeDep,
) -> Response:
    """Get metrics of jobs, workers, webhooks, requests and this process for Prometheus.

    Overlapping requests share one reading of the metrics.
    """

    def read() -> bytes:
        jobs = jobs_exposition(services.database, counters)
        own = deliveries_exposition(deliverer.outcomes) + times.exposition() + process.exposition()
        return jobs + dependencies_exposition(services) + own

    return Response(await shared.result(read), media_type=CONTENT_TYPE_PLAIN_0_0_4)
