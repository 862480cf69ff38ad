"""What Prometheus reads.

Jobs and workers are counted in SQL at each scrape, so that every API process says the same; requests are
counted by the process that answers them. No label is an id, so that there are never many series.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import fleet
from shared.clock import Now, database_now, seconds_between
from shared.db import Database
from shared.lifecycle import TERMINAL, JobState
from shared.tables import Job

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0)
_REQUEST_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class RequestTimes:
    """How long this process took to begin each answer."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._histogram = Histogram(
            "trainshed_http_request_seconds",
            "Seconds from a request's arrival to the beginning of its answer.",
            ("route", "method", "status"),
            registry=self._registry,
            buckets=_REQUEST_SECONDS,
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one request."""
        # a client may ask for any path by any method: those that are not ours share one series
        route = getattr(scope.get("route"), "path_format", "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._histogram.labels(route, method, status).observe(seconds)

    def exposition(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self._registry)


class Timed:
    """ASGI middleware that counts every request."""

    def __init__(self, app: ASGIApp, times: RequestTimes, now: Callable[[], float] = perf_counter) -> None:
        self._app = app
        self._times = times
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._now()

        async def send_timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._times.observe(scope, message["status"], self._now() - began)
            await send(message)

        await self._app(scope, receive, send_timed)


def jobs_exposition(database: Database, *, now: Now = database_now) -> bytes:
    """Jobs and workers, in Prometheus's text format, as one state of the database shows them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Found(database.read(lambda session: list(_families(session, now)))))
    return generate_latest(registry)


class _Found(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(session: Session, now: Now) -> Iterator[Metric]:
    yield _jobs(session)
    yield _submitted(session)
    yield _finished(session)
    wait, duration = seconds_between(Job.created_at, Job.started_at), Job.duration_s.expression
    yield _histogram(session, "trainshed_queue_wait_seconds", "From submit to the first claim.", wait)
    yield _histogram(session, "trainshed_duration_seconds", "From the first claim to the end.", duration)
    yield _oldest(session, now)
    yield _workers(session, now)


def _jobs(session: Session) -> Metric:
    family = GaugeMetricFamily("trainshed_jobs", "Jobs in each state.", labels=("state", "queue"))
    for state, queue, count in session.execute(
        select(Job.state, Job.queue, func.count()).group_by(Job.state, Job.queue)
    ):
        family.add_metric((state, queue), count)
    return family


def _submitted(session: Session) -> Metric:
    family = CounterMetricFamily("trainshed_jobs_submitted", "Jobs that were submitted.", labels=("kind",))
    for kind, count in session.execute(select(Job.kind, func.count()).group_by(Job.kind)):
        family.add_metric((kind,), count)
    return family


def _finished(session: Session) -> Metric:
    family = CounterMetricFamily(
        "trainshed_jobs_finished", "Jobs that ended.", labels=("kind", "state", "error_code")
    )
    ends = (Job.kind, Job.state, func.coalesce(Job.error_code, ""))
    for kind, state, code, count in session.execute(
        select(*ends, func.count()).where(Job.state.in_(TERMINAL)).group_by(*ends)
    ):
        family.add_metric((kind, state, code), count)
    return family


def _histogram(session: Session, name: str, text: str, seconds: ColumnElement[Any]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=("kind",))
    counts = [func.count().filter(seconds <= bound) for bound in _SECONDS]
    measured = select(Job.kind, func.count(seconds), func.sum(seconds), *counts).group_by(Job.kind)
    for kind, count, total, *below in session.execute(measured.where(seconds.is_not(None))):
        buckets = [(str(bound), number) for bound, number in zip(_SECONDS, below, strict=True)]
        family.add_metric((kind,), [*buckets, ("+Inf", count)], float(total))
    return family


def _oldest(session: Session, now: Now) -> Metric:
    family = GaugeMetricFamily(
        "trainshed_queue_oldest_age_seconds",
        "For how long the job has waited that has waited longest and might be run.",
        labels=("queue",),
    )
    age = func.max(seconds_between(Job.scheduled_at, now()))
    waiting = select(Job.queue, age).where(Job.state == JobState.QUEUED, Job.scheduled_at <= now())
    for queue, seconds in session.execute(waiting.group_by(Job.queue)):
        family.add_metric((queue,), seconds or 0.0)
    return family


def _workers(session: Session, now: Now) -> Metric:
    family = GaugeMetricFamily("trainshed_workers", "Workers in each state.", labels=("state",))
    for state, count in Counter(worker.state for worker in fleet.workers(session, now=now)).items():
        family.add_metric((state,), count)
    return family
