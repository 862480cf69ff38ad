"""The API as an ASGI app: `uvicorn --factory api.app:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.middleware import Middleware

from api import handlers
from api.envelope import Envelope
from api.routes import datasets, health, jobs, models, problems, workers
from api.services import open_services
from shared.schemas import Problem
from shared.settings import Settings, get_settings

_DESCRIPTION = (
    "A queue of training and evaluation jobs. Every error is a problem document (RFC 9457) whose `type` is "
    "an address of this API that explains it."
)


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with the one schema that no route returns."""
        document = super().openapi()
        document["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
        return document


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API.

    Args:
        settings: None: those of the environment.
    """
    settings = settings or get_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_services(settings) as app.state.services:
            yield

    app = _Api(
        title="Trainshed",
        version=version("trainshed"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        middleware=[Middleware(Envelope)],
        generate_unique_id_function=_function_name,
    )
    handlers.install(app)
    for routes in (jobs, models, datasets, workers, health, problems):
        app.include_router(routes.router)
    app.add_api_route("/", lambda: RedirectResponse("/docs"), include_in_schema=False)
    return app


def _function_name(route: APIRoute) -> str:
    return route.name
