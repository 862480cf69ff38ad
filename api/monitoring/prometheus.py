"""Metrics in Prometheus's text format.

Jobs, workers and pending deliveries are counted in the database, so every API process reports the same
numbers, except for deleted jobs (`api.monitoring.job_counters`). Requests and attempts to deliver are counted
by the process that handles them. The number of time series is bounded: no label is an id, and only a limited
number of queues, which anyone who submits a job can name, have time series of their own.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping

from prometheus_client import Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select, type_coerce
from sqlalchemy.orm import Session

from api.monitoring.job_counters import BUCKET_BOUNDS_S, DurationHistogram, JobCounters
from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import IS_QUEUED, Job, UtcDateTime
from shared.errors import ERROR_CODES
from shared.lifecycle import TERMINAL, AttemptOutcome, JobKind, JobState, WorkerState
from shared.store import outbox, queues, workers

MAX_QUEUES = 100
"""The number of queues that have time series of their own; the rest are counted together."""

OTHER_QUEUES = "other"

# each would add a time series to every histogram
disable_created_metrics()  # type: ignore[no-untyped-call]

_REQUEST_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class RequestTimes:
    """A histogram of the times that this process took to begin its responses. Thread-safe."""

    def __init__(self) -> None:
        self._histogram = Histogram(
            "trainshed_http_request_seconds",
            "Seconds from a request's arrival to the beginning of its response.",
            ("route", "method", "status"),
            registry=None,
            buckets=_REQUEST_BUCKETS_S,
        )
        self._series: dict[tuple[str, str, int], Histogram] = {}  # faster than the library's search by labels

    def observe(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Record a request; `route` is the template of its path, or None if no route matched."""
        # a client may send any path and any method: unknown ones share one time series
        known_method = method if method in _METHODS else "other"
        labels = (route or "none", known_method, status)
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = self._histogram.labels(*labels)
        series.observe(seconds)

    def exposition(self) -> bytes:
        """Return the histogram in Prometheus's text format."""
        return generate_latest(self._histogram)


def jobs_exposition(database: Database, counters: JobCounters, *, now: Now = database_now) -> bytes:
    """Return the metrics of jobs and workers in Prometheus's text format, from one snapshot."""
    upto = counters.settle(database)
    families = database.read(lambda session: list(_families(session, counters, upto, now)))
    return generate_latest(Families(families))


class Families(Collector):
    """A collector of metrics that are already computed."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._families


def _families(session: Session, counters: JobCounters, upto: int, now: Now) -> Iterator[Metric]:
    yield from _jobs(session, now)
    totals = counters.totals(session, upto)
    # zeros are reported too, so that a rate is known from the first job on
    submitted = CounterMetricFamily("trainshed_jobs_submitted", "Submitted jobs.", labels=("kind",))
    for kind in JobKind:
        submitted.add_metric((kind,), totals.submitted[kind])
    yield submitted
    labels = ("kind", "state", "error_code")
    finished = CounterMetricFamily("trainshed_jobs_finished", "Finished jobs.", labels=labels)
    states = [*((str(state), "") for state in TERMINAL - {JobState.FAILED})]
    states += ((str(JobState.FAILED), code) for code in ERROR_CODES)
    ends = {(str(kind), *state) for kind in JobKind for state in states}
    for values in sorted(ends | totals.finished.keys()):
        finished.add_metric(values, totals.finished[values])
    yield finished
    attempts = CounterMetricFamily(
        "trainshed_attempts_unsuccessful",
        "Attempts that failed, or whose worker or process was lost.",
        labels=("outcome",),
    )
    for outcome in (AttemptOutcome.FAILED, AttemptOutcome.LOST):
        attempts.add_metric((outcome,), totals.attempts[outcome])
    yield attempts
    yield _histogram(
        "trainshed_queue_wait_seconds", "Seconds from submission to the first claim.", totals.waits
    )
    yield _histogram(
        "trainshed_duration_seconds", "Seconds for which the attempts of a job ran.", totals.durations
    )
    by_state = GaugeMetricFamily("trainshed_workers", "Workers in each state.", labels=("state",))
    counts = workers.count_by_state(session, now=now)
    for state in WorkerState:
        by_state.add_metric((state,), counts.get(state, 0))
    yield by_state
    slots = queues.slots(session, now=now)
    yield GaugeMetricFamily("trainshed_slots", "Slots of all online workers.", slots.all or 0)
    yield GaugeMetricFamily("trainshed_slots_free", "Of these, the ones that run no job.", slots.free)
    yield from _webhooks(session, now)


def _jobs(session: Session, now: Now) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("trainshed_jobs", "Jobs in each state.", labels=("state", "queue"))
    oldest = GaugeMetricFamily(
        "trainshed_queue_oldest_age_seconds",
        "Seconds that the oldest due job has waited in each queue.",
        labels=("queue",),
    )
    counted = select(Job.state, Job.queue, func.count()).group_by(Job.state, Job.queue)
    rows = session.execute(counted).all()
    served = queues.served(session, now=now)
    unfinished = Counter(dict.fromkeys(served, 0))
    for state, queue, count in rows:
        unfinished[queue] += 0 if state in TERMINAL else count
    own = _queues_with_series(unfinished, served)
    counts = Counter({(str(state), queue): 0 for state in JobState for queue in own})
    for state, queue, count in rows:
        counts[state, queue if queue in own else OTHER_QUEUES] += count
    ages, first_due = dict.fromkeys(own, 0.0), func.min(Job.scheduled_at)
    due = select(Job.queue, first_due, type_coerce(now(), UtcDateTime())).where(IS_QUEUED).group_by(Job.queue)
    for queue, due_at, at in session.execute(due):
        label = queue if queue in own else OTHER_QUEUES
        ages[label] = max(ages.get(label, 0.0), (at - due_at).total_seconds())
    for labels, count in counts.items():
        jobs.add_metric(labels, count)
    for label, age in ages.items():
        oldest.add_metric((label,), age)
    paused, stopped = (
        queues.paused(session),
        GaugeMetricFamily("trainshed_queue_paused", "Whether a queue is paused: 1, or 0.", labels=("queue",)),
    )
    for queue in sorted(own):
        stopped.add_metric((queue,), queue in paused)
    yield from (jobs, oldest, stopped)


def _webhooks(session: Session, now: Now) -> Iterator[Metric]:
    backlog = outbox.backlog(session, now=now)
    yield GaugeMetricFamily(
        "trainshed_webhook_deliveries_pending",
        "Deliveries that are still to be sent, except to paused webhooks.",
        backlog.pending,
    )
    yield GaugeMetricFamily(
        "trainshed_webhook_oldest_pending_age_seconds",
        "Seconds since the oldest of these deliveries came in.",
        backlog.oldest_s,
    )


def deliveries_exposition(outcomes: Mapping[outbox.Outcome, int]) -> bytes:
    """Return the outcomes of this process's attempts to deliver, in Prometheus's text format."""
    family = CounterMetricFamily(
        "trainshed_webhook_deliveries",
        "Attempts to deliver that were accepted or failed, and deliveries that were given up.",
        labels=("outcome",),
    )
    for outcome in outbox.Outcome:
        family.add_metric((outcome,), outcomes.get(outcome, 0))
    return generate_latest(Families([family]))


def _queues_with_series(unfinished: Mapping[str, int], served: Container[str]) -> set[str]:
    """Return the queues with time series of their own: first those with workers, then the longest ones."""
    order = sorted(unfinished, key=lambda queue: (queue not in served, -unfinished[queue], queue))
    return set(order[:MAX_QUEUES])


def _histogram(name: str, text: str, histograms: Mapping[str, DurationHistogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=("kind",))
    bounds = [*map(str, BUCKET_BOUNDS_S), "+Inf"]
    for kind in JobKind:
        histogram = histograms.get(kind, DurationHistogram())
        family.add_metric((kind,), list(zip(bounds, histogram.cumulative(), strict=True)), histogram.seconds)
    return family
