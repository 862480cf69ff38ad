"""The API as an ASGI app: `uvicorn --factory api.app:create_app`."""

import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from functools import partial
from importlib.metadata import version
from operator import attrgetter
from typing import Any

from anyio import CapacityLimiter
from fastapi import Depends, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from api.background import SharedCall
from api.http import access_log, auth, docs_page, error_handlers, openapi, request_traces
from api.http.callers import Callers
from api.http.cross_site import CrossSiteGuard
from api.http.head import Head
from api.http.middleware import RequestContext, RequestTiming
from api.http.open_streams import OpenStreams
from api.http.rate_limit import RateLimiter
from api.http.rendered import RenderedJobs
from api.http.shared_rate_limit import SharedRateLimit
from api.http.stopping import stop_noticed
from api.jobs.event_pages import EventPages
from api.jobs.rendered import RenderedResponses
from api.jobs.watching import JobWatcher
from api.monitoring import version_floor
from api.monitoring.job_counters import JobCounters
from api.monitoring.process import ProcessMetrics
from api.monitoring.prometheus import RequestTimes
from api.prediction.decoding import Decoder
from api.prediction.onnx_models import OnnxModels
from api.routes import (
    api_keys,
    artifacts,
    datasets,
    evaluations,
    events,
    health,
    job_edits,
    job_images,
    jobs,
    logs,
    metrics,
    models,
    problems,
    queues,
    sweeps,
    tfjs,
    webhooks,
    weights,
    workers,
)
from api.services import open_services
from api.web import site
from api.web.errors import PageErrors
from api.webhooks.delivering import Deliverer
from shared import tracing
from shared.settings import Settings, get_settings

_DESCRIPTION = (
    "A queue of training and evaluation jobs. Every error is a problem document (RFC 9457) whose `type` is "
    "a path of this API that explains it."
)
# /docs lists the routes in this order
_JOB_ROUTES = (jobs, job_edits, events, evaluations, artifacts, logs, metrics, job_images, weights)
_OTHER_ROUTES = (models, tfjs, sweeps, datasets, workers, queues, api_keys, webhooks, health, problems)
_ROUTES = (*_JOB_ROUTES, *_OTHER_ROUTES)

_OPEN_THREADS = 4
# with Python's defaults (700, 10, 10) the collector traverses all objects of thousands of connections every
# few seconds, which stops the process for up to 2 s; most garbage is freed without a full collection
_GC_THRESHOLDS = (5_000, 10, 200)

_CONDITIONAL_HEADERS = ("If-Match", "If-None-Match", "Last-Event-ID")
_CORS_REQUEST_HEADERS = ("Authorization", "Idempotency-Key", "X-Request-ID", *_CONDITIONAL_HEADERS)
_CORS_RESPONSE_HEADERS = ("ETag", "Idempotency-Replayed", "Location", "Retry-After", "X-Request-ID")


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.complete(super().openapi(), needs_key=self.state.needs_key)
        return self.openapi_schema


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the API, configured by the environment unless settings are given.

    Raises:
        ExposedApi: other hosts could reach the API, and it would need no key.
    """
    settings = settings or get_settings()
    settings.require_guarded()
    tracing.start(request_traces.SERVICE)
    request_times = RequestTimes()
    app = _Api(
        title="Trainshed",
        version=version("trainshed"),
        description=_DESCRIPTION,
        lifespan=partial(_lifespan, settings=settings, request_times=request_times),
        telemetry=request_traces.telemetry(),
        docs_url=None,
        redoc_url=None,
        middleware=_middleware(settings, request_times),
        dependencies=[Depends(auth.refuse_undeclared)],
        generate_unique_id_function=attrgetter("name"),
    )
    app.state.needs_key = bool(settings.api_keys or settings.read_keys)
    access_log.install()
    error_handlers.install(app)
    docs_page.install(app)
    for module in _ROUTES:
        app.include_router(module.router)
    site.install(app)
    return app


@asynccontextmanager
async def _lifespan(
    _app: FastAPI, settings: Settings, request_times: RequestTimes
) -> AsyncIterator[dict[str, object]]:
    """Create the objects that all requests share, under the names by which `api.deps` reads them."""
    with (
        ExitStack() as last,
        _rare_full_collections(),
        open_services(settings) as services,
        closing(Decoder()) as decoder,
    ):
        last.callback(tracing.stop)
        watcher = JobWatcher(services.database, settings, services.changes.id)
        callers, deliverer = Callers(services.database, settings), Deliverer(services.database, settings)
        open_streams = OpenStreams(callers)
        rate_limiter = RateLimiter(settings.rate_limit)
        async with (
            version_floor.obeyed(services.database),
            watcher.running(),
            open_streams.checking(),
            deliverer.running(),
            SharedRateLimit(rate_limiter, settings).running(),
        ):
            services.changes.listen(watcher.announce)
            with stop_noticed(watcher.stop):
                yield {
                    "services": services,
                    "watcher": watcher,
                    "rendered": RenderedResponses(watcher),
                    "event_pages": EventPages(watcher, services.database),
                    "callers": callers,
                    "open_streams": open_streams,
                    "deliverer": deliverer,
                    "decoder": decoder,
                    "models": OnnxModels(),
                    "job_counters": JobCounters(),
                    "process_metrics": ProcessMetrics(),
                    "scrape": SharedCall[bytes](),
                    "request_times": request_times,
                    "open_threads": CapacityLimiter(_OPEN_THREADS),
                    "rate_limiter": rate_limiter,
                }


@contextmanager
def _rare_full_collections() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _middleware(settings: Settings, request_times: RequestTimes) -> list[Middleware]:
    """Return the middleware, outermost first."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=_CORS_REQUEST_HEADERS,
        expose_headers=_CORS_RESPONSE_HEADERS,
    )
    # uvicorn's middleware keeps the forwarding headers, by which `callers.is_local` sees that a request was
    # forwarded, whatever address they name
    proxies = Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
    return [
        *([proxies] if settings.trusted_proxies else []),
        Middleware(PageErrors),
        Middleware(RequestContext),
        Middleware(RequestTiming, request_times),
        Middleware(CrossSiteGuard, settings),
        *([cors] if settings.cors_origins else []),
        Middleware(Head),
        Middleware(RenderedJobs),
    ]
