"""The pages of an app: all of their routes."""

from fastapi import FastAPI

from api.web import sign_in, static
from api.web.routes import job, jobs, models, overview, try_it

_MODULES = (
    static,
    sign_in,
    overview,
    jobs,
    job,
    models,
    try_it,
)


def install(app: FastAPI) -> None:
    """Serve the pages."""
    for module in _MODULES:
        app.include_router(module.router)
