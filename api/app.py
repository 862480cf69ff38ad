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

from api import access, document, handlers, reference
from api.changes import Changes
from api.envelope import Envelope
from api.gate import Gate
from api.prometheus import RequestTimes, Timed
from api.rate_limit import RateLimiter
from api.routes import (
    api_keys,
    datasets,
    health,
    job_changes,
    job_lists,
    jobs,
    jobs_together,
    live,
    logs,
    metrics,
    misclassified,
    models,
    problems,
    prometheus,
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
            self.openapi_schema = document.complete(super().openapi(), keyed=self.state.keyed)
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
            app.state.changes = Changes(services.database, settings)
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
        dependencies=[Depends(access.admit)],
        generate_unique_id_function=_function_name,
    )
    app.state.keyed = bool(settings.api_keys)
    app.state.request_times = times
    app.state.rate_limiter = RateLimiter(settings.rate_limit)
    handlers.install(app)
    reference.install(app)
    for routes in (
        jobs_together,  # first: `counts` is no job's id
        job_lists,
        jobs,
        job_changes,
        live,
        models,
        metrics,
        misclassified,
        sweeps,
        datasets,
        workers,
        queues,
        api_keys,
        prometheus,
        logs,
        health,
        problems,
    ):
        app.include_router(routes.router)
    app.add_api_route("/", lambda: RedirectResponse("/docs"), include_in_schema=False)
    return app


def _middleware(settings: Settings, times: RequestTimes) -> list[Middleware]:
    inside = [Middleware(Envelope), Middleware(Timed, times), Middleware(Gate, settings)]
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
