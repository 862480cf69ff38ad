"""What Prometheus reads.

Jobs and workers are counted in the database, so that every API process says the same, but for jobs that were
deleted (`api.monitoring.job_counters`); requests are counted by the process that answers them. No label is an
id, so that
there are never many series.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select, type_coerce
from sqlalchemy.orm import Session
from starlette.types import Scope

from api.monitoring.job_counters import BOUNDS, Counts, Durations, JobCounters
from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import Job, UtcDateTime
from shared.lifecycle import JobState
from shared.store import workers

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


def jobs_exposition(database: Database, tally: JobCounters, *, now: Now = database_now) -> bytes:
    """Jobs and workers, in Prometheus's text format, as one state of the database shows them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Found(database.read(lambda session: list(_families(session, tally, now)))))
    return generate_latest(registry)


class _Found(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(session: Session, tally: JobCounters, now: Now) -> Iterator[Metric]:
    yield from _jobs(session, now)
    totals = tally.totals(session, now=now)
    yield _submitted(totals)
    yield _finished(totals)
    yield _histogram("trainshed_queue_wait_seconds", "From submit to the first claim.", totals.waits)
    yield _histogram("trainshed_duration_seconds", "From the first claim to the end.", totals.durations)
    yield _workers(session, now)


def _jobs(session: Session, now: Now) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("trainshed_jobs", "Jobs in each state.", labels=("state", "queue"))
    oldest = GaugeMetricFamily(
        "trainshed_queue_oldest_age_seconds",
        "For how long the job has waited that has waited longest and might be run.",
        labels=("queue",),
    )
    measures = (func.count(), func.min(Job.scheduled_at), type_coerce(now(), UtcDateTime()))
    found = session.execute(select(Job.state, Job.queue, *measures).group_by(Job.state, Job.queue))
    for state, queue, count, due_at, at in found:
        jobs.add_metric((state, queue), count)
        if state == JobState.QUEUED and due_at <= at:
            oldest.add_metric((queue,), (at - due_at).total_seconds())
    yield jobs
    yield oldest


def _submitted(totals: Counts) -> Metric:
    family = CounterMetricFamily("trainshed_jobs_submitted", "Jobs that were submitted.", labels=("kind",))
    for kind, count in totals.submitted.items():
        family.add_metric((kind,), count)
    return family


def _finished(totals: Counts) -> Metric:
    family = CounterMetricFamily(
        "trainshed_jobs_finished", "Jobs that ended.", labels=("kind", "state", "error_code")
    )
    for labels, count in totals.finished.items():
        family.add_metric(labels, count)
    return family


def _histogram(name: str, text: str, spreads: Mapping[str, Durations]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=("kind",))
    bounds = [*map(str, BOUNDS), "+Inf"]
    for kind, spread in spreads.items():
        family.add_metric((kind,), list(zip(bounds, spread.cumulative(), strict=True)), spread.seconds)
    return family


def _workers(session: Session, now: Now) -> Metric:
    family = GaugeMetricFamily("trainshed_workers", "Workers in each state.", labels=("state",))
    for state, count in Counter(worker.state for worker in workers.every(session, now=now)).items():
        family.add_metric((state,), count)
    return family
