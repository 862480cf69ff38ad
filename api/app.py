"""The API as an ASGI app: `uvicorn --factory api.app:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from api.http import auth, docs_page, error_handlers, openapi
from api.http.cross_site import CrossSiteGuard
from api.http.middleware import RequestContext, Timed
from api.http.rate_limit import RateLimiter
from api.jobs.watching import JobWatcher
from api.monitoring.prometheus import RequestTimes
from api.routes import (
    api_keys,
    datasets,
    evaluations,
    events,
    health,
    job_edits,
    jobs,
    logs,
    metrics,
    models,
    problems,
    queues,
    sweeps,
    workers,
)
from api.services import open_services
from shared.settings import Settings, get_settings

_DESCRIPTION = (
    "A queue of training and evaluation jobs. Every error is a problem document (RFC 9457) whose `type` is "
    "an address of this API that explains it."
)


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.complete(super().openapi(), keyed=self.state.keyed)
        return self.openapi_schema


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API.

    Args:
        settings: None: those of the environment.

    Raises:
        ExposedApi: others than this host's own programs would reach it, and it would ask for no key.
    """
    settings = settings or get_settings()
    settings.require_guarded()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_services(settings) as services:
            app.state.services = services
            app.state.changes = JobWatcher(services.database, settings)
            async with app.state.changes.listening():
                yield

    times = RequestTimes()
    app = _Api(
        title="Trainshed",
        version=version("trainshed"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        middleware=_middleware(settings, times),
        dependencies=[Depends(auth.authorize)],
        generate_unique_id_function=_function_name,
    )
    app.state.keyed = bool(settings.api_keys)
    app.state.request_times = times
    app.state.rate_limiter = RateLimiter(settings.rate_limit)
    error_handlers.install(app)
    docs_page.install(app)
    for routes in (
        jobs,
        job_edits,
        events,
        evaluations,
        logs,
        metrics,
        models,
        sweeps,
        datasets,
        workers,
        queues,
        api_keys,
        health,
        problems,
    ):
        app.include_router(routes.router)
    app.add_api_route("/", lambda: RedirectResponse("/docs"), include_in_schema=False)
    return app


def _middleware(settings: Settings, times: RequestTimes) -> list[Middleware]:
    inside = [Middleware(RequestContext), Middleware(Timed, times), Middleware(CrossSiteGuard, settings)]
    if settings.cors_origins:
        inside.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["*"],
                allow_headers=[
                    "Authorization",
                    "Content-Type",
                    "Idempotency-Key",
                    "If-None-Match",
                    "Last-Event-ID",
                ],
                expose_headers=["ETag", "Idempotency-Replayed", "Location", "Retry-After", "X-Request-ID"],
            )
        )
    return inside


def _function_name(route: APIRoute) -> str:
    return route.name
