"""Traces of real processes: from the request to the attempt, what kills leave of it, and bad collectors."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from signal import SIGCONT, SIGTERM
from time import monotonic
from uuid import UUID

import psutil
import pytest

from shared.lifecycle import JobState
from tests.faults.cluster import Cluster
from tests.faults.conftest import KILLS_ON_SQLITE, NewCluster
from tests.support import stored
from tests.support.ports import closed_port, silent_port
from tests.support.servers import RedisServer
from tests.support.stub_executor import Behaviour
from tests.support.trace_collector import SOON, Collector, ReceivedSpan, running_collector
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

CLIENTS_TRACE, CLIENTS_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FROM_CLIENT = {"traceparent": f"00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-01"}
STOP_S = 2.0  # that a process waits for the collector at its end


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


def attempt_of(collector: Collector, job_id: UUID, number: int) -> ReceivedSpan:
    return collector.wait_for(
        "attempt default", messaging_message_id=str(job_id), trainshed_attempt=number, timeout=40.0
    )


def links(span: ReceivedSpan) -> dict[str, tuple[str, str]]:
    """The trace and the span that each of its links leads to, by what the link is."""
    return {attributes["trainshed.link"]: (trace_id, span_id) for trace_id, span_id, attributes in span.links}


def ids(span: ReceivedSpan) -> tuple[str, str]:
    return span.trace_id, span.span_id


@KILLS_ON_SQLITE
def test_one_trace_leads_from_the_clients_request_to_the_phases_of_the_first_attempt(
    cluster: Cluster, collector: Collector
) -> None:
    api = cluster.api(environment=collector.environment)
    cluster.worker(environment=collector.environment)
    job_id = UUID(api.submit(headers=FROM_CLIENT).json()["id"])
    cluster.expect_stored_jobs()
    cluster.wait_for_all()

    request = collector.wait_for("POST /v1/jobs")
    submission = collector.wait_for("submit default")
    attempt = attempt_of(collector, job_id, 1)
    assert [request.parent_id, submission.parent_id, attempt.parent_id] == [
        CLIENTS_SPAN, request.span_id, submission.span_id,
    ]  # fmt: skip
    spans = [request, submission, attempt]
    assert {span.trace_id for span in spans} == {CLIENTS_TRACE}
    assert [span.kind for span in spans] == ["server", "producer", "consumer"]
    assert [span.service for span in spans] == ["trainshed-api", "trainshed-api", "trainshed-worker"]
    assert request.attributes["http.response.status_code"] == 202
    assert attempt.attributes["trainshed.attempt.outcome"] == "succeeded"
    assert attempt.attributes["trainshed.device"] == "stub"
    assert not attempt.failed

    parts = collector.within(attempt)
    assert [part.name for part in parts] == ["training", "evaluating", "report"]
    assert all(one.ended_ns <= other.started_ns for one, other in pairwise(parts))
    epochs = [attributes for name, attributes in parts[0].events if name == "epoch"]
    assert [attributes["epoch"] for attributes in epochs] == [1, 2, 3, 4]
    assert {"loss", "val_accuracy"} < epochs[0].keys()
    lines = stored.log_lines(cluster.database, job_id)
    assert [line.fields.get("trace") for line in lines if line.message == "attempt 1 started"] == [
        CLIENTS_TRACE
    ]
    [worker] = [program for program in cluster.programs if program.logged("ready for jobs")]
    assert f'"trace_id": "{CLIENTS_TRACE}", "span_id": "{attempt.span_id}"' in worker.log.read_text()


def test_a_resumed_attempt_links_to_the_submission_and_to_the_attempt_that_was_killed(
    sqlite_cluster: Cluster, collector: Collector
) -> None:
    cluster = sqlite_cluster
    api = cluster.api(environment=collector.environment)
    worker = cluster.worker(environment=collector.environment)
    job_id = UUID(api.submit().json()["id"])
    cluster.wait_for_epoch(job_id, 1)
    [process] = worker.pool()
    process.kill()
    cluster.expect_stored_jobs()
    cluster.wait_for_all()

    submission = collector.wait_for("submit default")
    first, second = (attempt_of(collector, job_id, number) for number in (1, 2))
    assert first.parent_id == submission.span_id
    assert first.attributes["trainshed.attempt.outcome"] == "lost"
    assert first.failed
    assert first.attributes["error.type"] == "worker_lost"
    assert first.message == f"pool process {process.pid} was killed by signal 9 (out of memory?)"
    assert first.ended_ns - first.started_ns > 250_000_000  # of the epoch that was recorded
    assert second.parent_id == ""
    assert second.trace_id != first.trace_id
    assert links(second) == {"submission": ids(submission), "attempt before": ids(first)}
    assert second.attributes["trainshed.resumed_from_epoch"] >= 1
    assert second.attributes["trainshed.attempt.outcome"] == "succeeded"
    assert len(collector.named("attempt default")) == 2


def test_an_attempt_that_was_lost_with_its_worker_is_recorded_by_another_one(
    sqlite_cluster: Cluster, collector: Collector
) -> None:
    cluster = sqlite_cluster
    worker = cluster.worker(environment=collector.environment)
    job_id = cluster.submit()
    cluster.wait_for_epoch(job_id, 1)
    worker.kill_all()
    cluster.worker(environment=collector.environment)
    cluster.wait_for_all()

    first, second = (attempt_of(collector, job_id, number) for number in (1, 2))
    assert first.message.endswith("stopped renewing its lease")
    assert first.parent_id == ""  # it was submitted without a trace
    assert links(first) == {}
    assert links(second) == {"attempt before": ids(first)}


def test_a_process_that_is_suspended_until_its_attempt_is_lost_does_not_record_it_again(
    sqlite_cluster: Cluster, collector: Collector
) -> None:
    cluster = sqlite_cluster
    suspended = cluster.worker(environment=collector.environment)
    job_id = cluster.submit()
    cluster.wait_for_epoch(job_id, 1)
    cluster.suspend(suspended)
    cluster.worker(environment=collector.environment)
    attempt_of(collector, job_id, 1)
    cluster.wait_for_attempt(job_id, 2)
    suspended.send_all(SIGCONT)
    cluster.wait_for_all()
    wait_until(lambda: suspended.logged("superseded"), "the suspended process has noticed")

    suspended.send(SIGTERM)  # and sends what it has
    suspended.wait()
    attempt_of(collector, job_id, 2)
    assert [span.attributes["trainshed.attempt.outcome"] for span in collector.named("attempt default")] == [
        "lost", "succeeded",
    ]  # fmt: skip


def test_a_failed_attempt_and_a_hung_one_say_why(sqlite_cluster: Cluster, collector: Collector) -> None:
    cluster = sqlite_cluster
    cluster.worker(environment=collector.environment)
    options = {"max_attempts": 1}
    raising = cluster.submit(seed=Behaviour.RAISES, ends=JobState.FAILED, options=options)
    hanging = cluster.submit(
        seed=Behaviour.HANGS, ends=JobState.FAILED, options={**options, "max_runtime_s": 1.0}
    )
    cluster.wait_for_all()

    failed = attempt_of(collector, raising, 1)
    assert (failed.failed, failed.attributes["error.type"]) == (True, "internal")
    assert failed.message == "RuntimeError: an unforeseen error"
    assert [(part.name, part.failed) for part in collector.within(failed)] == [
        ("training", True), ("report", False),
    ]  # fmt: skip
    # its process was ended by the parent, which records its span
    hung = attempt_of(collector, hanging, 1)
    assert (hung.failed, hung.attributes["error.type"]) == (True, "timeout")
    assert [span.attributes["trainshed.attempt"] for span in collector.named("attempt default")] == [1, 1]


def test_each_attempt_at_a_job_of_a_sweep_is_a_trace_of_its_own(
    sqlite_cluster: Cluster, collector: Collector
) -> None:
    cluster = sqlite_cluster
    api = cluster.api(environment=collector.environment)
    cluster.worker(environment=collector.environment)
    spec = {"dataset": "digits", "epochs": 1, "train_size": 10, "batch_size": 10}
    sweep = {"strategy": "grid", "spec": spec, "parameters": {"learning_rate": [0.1, 0.2]}}
    assert api.post("sweeps", sweep).is_success
    first, second = cluster.expect_stored_jobs()
    cluster.wait_for_all()

    submission = collector.wait_for("submit default")
    assert submission.attributes["messaging.batch.message_count"] == 2
    attempts = [attempt_of(collector, job_id, 1) for job_id in (first, second)]
    assert len({span.trace_id for span in [submission, *attempts]}) == 3
    assert [(span.parent_id, links(span)) for span in attempts] == [("", {"submission": ids(submission)})] * 2


@pytest.mark.parametrize("unavailable", [closed_port, silent_port])
def test_a_collector_that_is_away_or_silent_delays_nothing_and_is_logged_once(
    new_cluster: NewCluster,
    redis: RedisServer,
    sqlite_url: str,
    unavailable: Callable[[], AbstractContextManager[int]],
) -> None:
    with unavailable() as port, new_cluster(sqlite_url, redis.url) as cluster:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", **SOON}
        api = cluster.api(environment=environment)
        worker = cluster.worker(environment=environment)
        for _ in range(3):
            started_at = monotonic()
            assert api.submit(timeout=2.0).status_code == 202
            assert monotonic() - started_at < 1.0
        cluster.expect_stored_jobs()
        cluster.wait_for_all()
        [process] = worker.pool()
        by_exporter = '"logger": "opentelemetry.exporter'
        wait_until(lambda: worker.logged(by_exporter), "the worker has logged it", timeout=30)
        assert worker.logged(by_exporter) == 1, worker.log.read_text()
        for program in (api.program, worker):
            started_at = monotonic()
            program.send(SIGTERM)
            assert program.wait() in (0, -SIGTERM)
            # a pool process waits, and then its parent; the SDK would for half a minute, each
            assert monotonic() - started_at < 2 * STOP_S + 8.0
        assert not psutil.pid_exists(process.pid)


def test_spans_that_wait_are_sent_when_a_process_stops(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str, collector: Collector
) -> None:
    hourly = {**collector.environment, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    with new_cluster(sqlite_url, redis.url) as cluster:
        api, worker = cluster.api(environment=hourly), cluster.worker(environment=hourly)
        job_id = UUID(api.submit().json()["id"])
        cluster.expect_stored_jobs()
        cluster.wait_for_all()
        assert collector.spans == []
        for program in (api.program, worker):
            program.send(SIGTERM)
            program.wait()

    assert attempt_of(collector, job_id, 1).parent_id == collector.wait_for("submit default").span_id


def test_without_an_endpoint_nothing_is_imported_that_exports(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str, collector: Collector
) -> None:
    with new_cluster(sqlite_url, redis.url) as cluster:
        disabled = {**collector.environment, "OTEL_SDK_DISABLED": "true"}
        api, worker = cluster.api(), cluster.worker(environment=disabled)
        job_id = UUID(api.submit(headers=FROM_CLIENT).json()["id"])
        cluster.expect_stored_jobs()
        cluster.wait_for_all()
        assert cluster.job(job_id).traceparent is None
        assert worker.logged("trace_id") == 0
    assert collector.requests == 0
