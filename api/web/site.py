"""The routes of all pages."""

from fastapi import FastAPI

from api.web import sign_in, static
from api.web.routes import (
    compare,
    job,
    jobs,
    models,
    new_job,
    overview,
    settings,
    sweeps,
    try_it,
    webhooks,
    workers,
)

_MODULES = (
    static,
    sign_in,
    overview,
    jobs,
    new_job,
    job,
    compare,
    sweeps,
    models,
    try_it,
    workers,
    settings,
    webhooks,
)


def install(app: FastAPI) -> None:
    """Add the pages to an app."""
    for module in _MODULES:
        app.include_router(module.router)
