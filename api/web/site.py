"""The pages of an app: all of their routes."""

from fastapi import FastAPI

from api.web import sign_in, static
from api.web.routes import job, jobs, overview, settings, workers

_MODULES = (
    static,
    sign_in,
    overview,
    jobs,
    job,
    settings,
    workers,
)


def install(app: FastAPI) -> None:
    """Serve the pages."""
    for module in _MODULES:
        app.include_router(module.router)
