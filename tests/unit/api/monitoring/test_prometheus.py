"""Metrics for Prometheus are those of the database, whichever API process reports them."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.middleware import Middleware

from api.http.middleware import RequestTiming
from api.monitoring import prometheus
from api.monitoring.job_counters import JobCounters
from api.monitoring.prometheus import RequestTimes, deliveries_exposition, jobs_exposition
from shared.db.engine import Database
from shared.errors import ERROR_CODES
from shared.store.outbox import Outcome
from tests.support import queue_driver, registry, stored
from tests.support.factories import make_evaluate_spec, make_model
from tests.support.fakes import FrozenClock
from tests.support.prometheus_samples import read, value
from tests.support.queue_driver import cancelled, failed, running, succeeded
from tests.support.registry import webhook, worker
from tests.support.servers import running_app


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """Both kinds of database, for what is computed in SQL."""
    return str(request.getfixturevalue(f"{getattr(request, 'param', 'sqlite')}_url"))


both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@both
def test_jobs_are_counted_by_state_and_by_outcome(database: Database) -> None:
    _, model = succeeded(database)
    queue_driver.submit(database, queue="gpu")
    queue_driver.submit(database, kind="evaluate", spec=make_evaluate_spec(model.id), model_id=model.id)
    running(database)
    failed(database)
    cancelled(database)
    samples = read(jobs_exposition(database, JobCounters()))
    assert value(samples, "jobs", state="queued", queue="gpu") == 1
    assert value(samples, "jobs", state="running", queue="default") == 1
    assert value(samples, "jobs_submitted_total", kind="train") == 5
    assert value(samples, "jobs_submitted_total", kind="evaluate") == 1
    ended = {"kind": "train", "error_code": ""}
    assert value(samples, "jobs_finished_total", **ended, state="succeeded") == 1
    assert value(samples, "jobs_finished_total", **ended, state="cancelled") == 1
    assert value(samples, "jobs_finished_total", kind="train", error_code="internal", state="failed") == 1


@both
def test_waits_and_durations_are_histograms(database: Database) -> None:
    clock = FrozenClock()
    job_id = queue_driver.submit(database, now=clock)
    clock.advance(2)
    attempt = queue_driver.claim(database, job_id, now=clock).attempt
    clock.advance(50)
    queue_driver.succeed(database, attempt, make_model(), now=clock)
    queue_driver.submit(database)
    samples = read(jobs_exposition(database, JobCounters()))
    for name, seconds, below, above in (
        ("queue_wait_seconds", 2.0, "1.0", "3.0"),
        ("duration_seconds", 50.0, "30.0", "100.0"),
    ):
        assert value(samples, f"{name}_count", kind="train") == 1
        assert value(samples, f"{name}_sum", kind="train") == pytest.approx(seconds, abs=0.001)
        assert value(samples, f"{name}_bucket", kind="train", le=below) == 0
        assert value(samples, f"{name}_bucket", kind="train", le=above) == 1
        assert value(samples, f"{name}_bucket", kind="train", le="+Inf") == 1


@both
def test_longest_wait_of_each_queue_is_reported(database: Database) -> None:
    clock, jobs = FrozenClock(), [queue_driver.submit(database), queue_driver.submit(database)]
    for job_id, seconds in zip(jobs, (90.0, 5.0), strict=True):
        stored.set_columns(database, job_id, scheduled_at=clock(-seconds))
    samples = read(jobs_exposition(database, JobCounters(), now=clock))
    assert value(samples, "queue_oldest_age_seconds", queue="default") == pytest.approx(90, abs=0.001)


@both
def test_job_that_is_not_due_does_not_count_as_waiting(database: Database) -> None:
    clock, job_id = FrozenClock(), queue_driver.submit(database)
    stored.set_columns(database, job_id, scheduled_at=clock(5.0))
    samples = read(jobs_exposition(database, JobCounters(), now=clock))
    assert value(samples, "queue_oldest_age_seconds", queue="default") == 0
    assert value(samples, "jobs", state="queued", queue="default") == 1


@both
def test_what_has_not_happened_yet_is_zero(database: Database) -> None:
    samples = read(jobs_exposition(database, JobCounters()))
    assert set(samples.values()) == {0}
    assert value(samples, "jobs_submitted_total", kind="evaluate") == 0
    assert value(samples, "jobs_finished_total", kind="train", state="succeeded", error_code="") == 0
    for code in ERROR_CODES:  # an increase is seen from the first one on
        assert value(samples, "jobs_finished_total", kind="train", state="failed", error_code=code) == 0
    assert value(samples, "attempts_unsuccessful_total", outcome="lost") == 0
    assert value(samples, "workers", state="online") == 0
    assert value(samples, "queue_wait_seconds_count", kind="train") == 0
    worker(database, queues=["gpu"])
    samples = read(jobs_exposition(database, JobCounters()))
    assert value(samples, "jobs", state="queued", queue="gpu") == 0
    assert value(samples, "queue_oldest_age_seconds", queue="gpu") == 0
    assert value(samples, "queue_paused", queue="gpu") == 0
    registry.pause(database, "gpu")
    assert value(read(jobs_exposition(database, JobCounters())), "queue_paused", queue="gpu") == 1


@both
def test_attempts_that_failed_or_were_lost_are_counted(database: Database) -> None:
    failed(database)
    succeeded(database)
    lost = queue_driver.claim(database, queue_driver.submit(database), owner="host/a/x").attempt
    assert queue_driver.lose(database, "host/a") == [lost]
    counters = JobCounters()
    for _ in range(2):
        samples = read(jobs_exposition(database, counters))
        assert value(samples, "attempts_unsuccessful_total", outcome="lost") == 1
        assert value(samples, "attempts_unsuccessful_total", outcome="failed") == 1
    assert stored.attempt(database, lost.job_id, 1).outcome == "lost"


@both
def test_slots_of_online_workers_are_counted(database: Database) -> None:
    worker(database, id="worker-1", slots=3, queues=["default", "gpu"])
    worker(database, id="worker-2", slots=2)
    worker(database, id="worker-3", slots=9, state="stopped")
    running(database)
    samples = read(jobs_exposition(database, JobCounters()))
    assert (value(samples, "slots"), value(samples, "slots_free")) == (5, 4)


def test_no_series_says_when_a_series_was_created(times: RequestTimes) -> None:
    times.observe("/v1/jobs", "GET", 200, 0.01)
    assert b"_created" not in times.exposition()


@pytest.fixture
def times() -> RequestTimes:
    return RequestTimes()


@pytest.fixture
def timed(times: RequestTimes) -> Iterator[httpx.Client]:
    """A client of a small app whose requests are counted."""
    app = FastAPI(middleware=[Middleware(RequestTiming, times)])

    @app.get("/things/{thing_id}")
    def thing(thing_id: int) -> int:
        return thing_id

    with running_app(app) as client:
        yield client


def test_requests_are_counted_by_route_and_not_by_id(timed: httpx.Client, times: RequestTimes) -> None:
    for thing_id in range(3):
        timed.get(f"/things/{thing_id}")
    timed.get("/things/x")
    samples = read(times.exposition())
    counted = {"route": "/things/{thing_id}", "method": "GET"}
    assert value(samples, "http_request_seconds_count", **counted, status="200") == 3
    assert value(samples, "http_request_seconds_count", **counted, status="422") == 1


def test_unknown_paths_and_methods_share_one_time_series(timed: httpx.Client, times: RequestTimes) -> None:
    for path in ("/a", "/b"):
        timed.get(path)
        timed.request("PURGE", path)
    samples = read(times.exposition())
    assert value(samples, "http_request_seconds_count", route="none", method="GET", status="404") == 2
    assert value(samples, "http_request_seconds_count", route="none", method="other", status="404") == 2


@both
def test_queues_that_anyone_names_have_a_bounded_number_of_series(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "MAX_QUEUES", 3)
    worker(database, queues=["served"])
    cancelled(database, queue="served")
    for _ in range(2):
        queue_driver.submit(database, queue="long")
    for number in range(5):
        queue_driver.submit(database, queue=f"made-up-{number}")

    samples = read(jobs_exposition(database, JobCounters()))

    found = {
        tuple(sorted(dict(labels).items())): count
        for (name, labels), count in samples.items()
        if name == "trainshed_jobs" and count
    }
    assert found == {
        (("queue", "served"), ("state", "cancelled")): 1,
        (("queue", "long"), ("state", "queued")): 2,
        (("queue", "made-up-0"), ("state", "queued")): 1,
        (("queue", "other"), ("state", "queued")): 4,
    }
    assert value(samples, "queue_oldest_age_seconds", queue="other") is not None
    assert value(samples, "queue_oldest_age_seconds", queue="made-up-1") is None


def test_no_label_is_a_sweep_a_key_or_an_address(database: Database) -> None:
    queue_driver.submit(database, tenant="address 192.0.2.7")
    assert "192.0.2.7" not in str(read(jobs_exposition(database, JobCounters())))


@both
def test_what_webhooks_wait_for_is_reported(database: Database) -> None:
    samples = read(jobs_exposition(database, JobCounters()))
    assert value(samples, "webhook_deliveries_pending") == 0
    assert value(samples, "webhook_oldest_pending_age_seconds") == 0
    webhook(database)
    cancelled(database)
    clock = FrozenClock()
    clock.moment = stored.deliveries(database)[0].created_at
    clock.advance(90)
    samples = read(jobs_exposition(database, JobCounters(), now=clock))
    assert value(samples, "webhook_deliveries_pending") == 1
    assert value(samples, "webhook_oldest_pending_age_seconds") == pytest.approx(90, abs=0.001)


def test_outcomes_of_deliveries_are_counted_from_zero_on() -> None:
    samples = read(deliveries_exposition({Outcome.ACCEPTED: 3}))
    counts = [value(samples, "webhook_deliveries_total", outcome=each) for each in Outcome]
    assert counts == [3, 0, 0]
