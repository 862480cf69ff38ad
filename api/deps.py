"""Dependencies of routes: the process's state, path parameters and headers, event streams."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import anyio
from anyio import CapacityLimiter
from fastapi import BackgroundTasks, Depends, Header, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from starlette.convertors import Convertor, register_url_convertor

from api.background import SharedCall
from api.jobs.event_pages import EventPages
from api.jobs.rendered import RenderedResponses
from api.jobs.watching import JobWatcher
from api.monitoring.job_counters import JobCounters
from api.monitoring.process import ProcessMetrics
from api.monitoring.prometheus import RequestTimes
from api.prediction.decoding import Decoder
from api.prediction.onnx_models import OnnxModels
from api.services import Services
from api.webhooks.delivering import Deliverer
from shared import log
from shared.schemas import DEFAULT_OBJECTIVE, IdReference, Metric, Mode, ModelReference
from shared.store import job_queries, recovery, references
from shared.store.events import CURSOR_PATTERN, Cursor, Watermark, end
from shared.store.sweeps import Objective

_END_WAITS_S = 2.0  # seconds between two checks whether the process is stopping

_log = log.get_logger(__name__)


def from_state(name: str) -> Any:
    """Return a dependency on an object that the app's lifespan created under this name."""

    async def get(request: Request) -> Any:
        return getattr(request.state, name)

    return Depends(get)


ServicesDep = Annotated[Services, from_state("services")]
WatcherDep = Annotated[JobWatcher, from_state("watcher")]
RenderedDep = Annotated[RenderedResponses, from_state("rendered")]
EventPagesDep = Annotated[EventPages, from_state("event_pages")]
DecoderDep = Annotated[Decoder, from_state("decoder")]
ModelsDep = Annotated[OnnxModels, from_state("models")]
JobCountersDep = Annotated[JobCounters, from_state("job_counters")]
ProcessMetricsDep = Annotated[ProcessMetrics, from_state("process_metrics")]
ScrapeDep = Annotated[SharedCall[bytes], from_state("scrape")]
RequestTimesDep = Annotated[RequestTimes, from_state("request_times")]
DelivererDep = Annotated[Deliverer, from_state("deliverer")]
OpenThreadsDep = Annotated[CapacityLimiter, from_state("open_threads")]
"""The threads for operations that need no API key, which slow requests of other operations cannot occupy."""


def _end_waits(services: Services, watcher: JobWatcher) -> None:
    try:
        while recovery.end_waits(services.database, for_s=_END_WAITS_S) and not watcher.is_stopping:
            pass
    except SQLAlchemyError as error:
        _log.warning("jobs that wait for others that have ended are left to workers", error=str(error))


def _end_waits_afterwards(services: ServicesDep, watcher: WatcherDep, tasks: BackgroundTasks) -> None:
    tasks.add_task(_end_waits, services, watcher)


ENDS_WAITS = Depends(_end_waits_afterwards)
"""A dependency of routes that cancel jobs: the jobs that wait for them are cancelled after the response.

That needs no running worker. If this process ends meanwhile, the next worker's reconciler continues."""


class _IdConvertor(Convertor[str]):
    """A path parameter that is an id or a part of an id; any other text does not match the route."""

    regex = "[0-9a-fA-F-]{4,36}"

    def convert(self, value: str) -> str:
        """Return the text unchanged; `id_in_path` parses it."""
        return value

    def to_string(self, value: str) -> str:
        """Return the text unchanged."""
        return value


register_url_convertor("id", _IdConvertor())  # for paths such as `/v1/jobs/{job_id:id}`


def id_in_path(name: str, noun: str, find: Callable[[Session, UUID | str], UUID]) -> Any:
    """Return a dependency that resolves a path parameter to an id; a whole id is not looked up.

    Args:
        name: the parameter's name.
        noun: the kind of the object that has the id, such as `job`.
        find: a function of `shared.store.references` that looks up an id by a part of it.
    """
    described = f"The {noun}'s id, or at least 4 of its first or last digits."

    async def whole_id(
        services: ServicesDep, reference: Annotated[IdReference, Path(alias=name, description=described)]
    ) -> UUID:
        if isinstance(reference, UUID):
            return reference
        return await run_in_threadpool(services.database.read, lambda session: find(session, reference))

    return Depends(whole_id)


JobId = Annotated[UUID, id_in_path("job_id", "job", references.find_job)]
ModelId = Annotated[ModelReference, Path()]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A text that no other request uses, such as a UUID. Repeating a request with its key is "
        "safe: the response is that of the first, and nothing is submitted again.",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="The job's ETag. If the job has changed since: 412."),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description="An earlier ETag. If nothing has changed since: 304."),
]

OPENING_S = 2.5  # seconds; a request must be answered within 3 s
POLL_UNSETTLED_S = 0.02  # seconds between two reads while an open transaction holds back events

_MAX_SEQ = 2**31 - 1

AfterSeq = Annotated[int, Query(ge=0, le=_MAX_SEQ, description="Return only events with a greater `seq`.")]


def _check_cursor(text: str) -> str:
    Cursor.parse(text)
    return text


_StreamCursor = Annotated[
    str, AfterValidator(_check_cursor), WithJsonSchema({"type": "string", "pattern": CURSOR_PATTERN})
]


async def _existing_job(watcher: WatcherDep, job_id: JobId) -> UUID:
    await watcher.read(partial(job_queries.state, job_id=job_id))
    return job_id


async def _resume_after(
    after: AfterSeq = 0,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=_MAX_SEQ)] = None,
) -> int:
    # a browser that reconnects sends the header, and the original `after` again
    return after if last_event_id is None else last_event_id


async def _feed_start(
    services: ServicesDep,
    watcher: WatcherDep,
    after: Annotated[
        _StreamCursor | None,
        Query(description="The id of an event of this stream to resume after; 0: before the first event."),
    ] = None,
    last_event_id: Annotated[_StreamCursor | None, Header(alias="Last-Event-ID")] = None,
) -> Cursor:
    cursor = last_event_id or after
    return Cursor.parse(cursor) if cursor else await _end_of_events(services, watcher)


async def _end_of_events(services: ServicesDep, watcher: WatcherDep) -> Cursor:
    """Return the current end of all jobs' events.

    The end is read before the response begins, so that a client that then lists the jobs misses no event.

    Raises:
        PoolTimeout: after `OPENING_S` an open transaction that writes events still hides the end.
    """
    observe = partial(end, services.database, Watermark())
    try:
        with anyio.fail_after(OPENING_S):
            while (place := await watcher.run(observe)) is None:
                await anyio.sleep(POLL_UNSETTLED_S)
    except TimeoutError:
        raise PoolTimeout("a transaction that writes events does not end") from None
    return place


def _split(values: Any) -> Any:
    """Split `a,b` into two values, as if both had been given."""
    if not isinstance(values, list):
        return values
    return [part for value in values for part in str(value).split(",")]


COMMA_SEPARATED = BeforeValidator(_split)
"""A validator of a list in the query, whose items may be separated by commas or be given one by one."""

ExistingJobId = Annotated[UUID, Depends(_existing_job)]
ResumeAfterDep = Annotated[int, Depends(_resume_after)]
FeedStartDep = Annotated[Cursor, Depends(_feed_start)]
EndOfEventsDep = Annotated[Cursor, Depends(_end_of_events)]
"""The end of all jobs' events when the request came; data read afterwards reflects every event before it."""


async def _objective(
    metric: Annotated[
        Metric, Query(description="The metric by which the jobs are ranked: any that they record.")
    ] = DEFAULT_OBJECTIVE,
    mode: Annotated[
        Mode | None,
        Query(description="Whether its least or its greatest value is best; by default its name says so."),
    ] = None,
) -> Objective:
    return Objective.of(metric, mode)


ObjectiveDep = Annotated[Objective, Depends(_objective)]
"""The metric by which jobs of sweeps are ranked."""
