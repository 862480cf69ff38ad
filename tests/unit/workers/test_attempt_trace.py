"""The spans of attempts: their ids, parents, links, phases and ends."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from shared import tracing
from shared.lifecycle import AttemptOutcome, JobKind, Phase
from shared.store.claims import Claim
from shared.store.recovery import LostAttempt
from shared.store.results import StoredCheckpoint
from shared.store.transitions import AttemptFailure, AttemptId
from tests.support.factories import make_epoch
from tests.support.trace_collector import Collector, ReceivedSpan
from workers.attempt_trace import AttemptTrace, record_lost

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SUBMISSION = f"00-{TRACE}-{SPAN}-01"
JOB = UUID(int=1)


def make_claim(number: int = 1, **overrides: Any) -> Claim:
    values: dict[str, Any] = {
        "attempt": AttemptId(JOB, number),
        "kind": JobKind.TRAIN,
        "queue": "gpu",
        "tenant": "",
        "spec": {},
        "max_runtime_s": None,
        "checkpoint": None,
        "failures": 0,
        "request_id": None,
        "sweep_id": None,
        "traceparent": SUBMISSION,
    }
    return Claim(**{**values, **overrides})


def make_lost(claim: Claim, **overrides: Any) -> LostAttempt:
    names = ("attempt", "kind", "queue", "sweep_id", "traceparent")
    values = {name: getattr(claim, name) for name in names}
    values |= {"worker": "host:1", "started_at": datetime(2026, 1, 1, tzinfo=UTC), "reason": "it broke"}
    return LostAttempt(**{**values, **overrides})


def begun(claim: Claim) -> AttemptTrace:
    return AttemptTrace(claim, worker="host:1", device="CPU")


def recorded(traces: Collector, claim: Claim) -> ReceivedSpan:
    """Record the span of an attempt that succeeds at once."""
    with begun(claim) as trace:
        trace.end(AttemptOutcome.SUCCEEDED)
    return received(traces, claim)


def received(traces: Collector, claim: Claim) -> ReceivedSpan:
    job_id, number = str(claim.attempt.job_id), claim.attempt.number
    return traces.wait_for("attempt gpu", trainshed_job_id=job_id, trainshed_attempt=number)


def links(span: ReceivedSpan) -> dict[str, tuple[str, str]]:
    return {attributes["trainshed.link"]: (trace_id, span_id) for trace_id, span_id, attributes in span.links}


def test_the_first_attempt_is_a_child_of_its_submission_and_later_ones_link(traces: Collector) -> None:
    first, second, third = (recorded(traces, make_claim(number)) for number in (1, 2, 3))
    assert (first.trace_id, first.parent_id) == (TRACE, SPAN)
    assert [second.parent_id, third.parent_id] == ["", ""]
    assert len({first.trace_id, second.trace_id, third.trace_id}) == 3
    submission = {"submission": (TRACE, SPAN)}
    assert links(first) == submission
    assert links(second) == {**submission, "attempt before": (first.trace_id, first.span_id)}
    assert links(third) == {**submission, "attempt before": (second.trace_id, second.span_id)}


def test_an_attempt_at_a_job_of_a_sweep_links_to_the_submission_of_all(traces: Collector) -> None:
    first, second = (recorded(traces, make_claim(number, sweep_id=UUID(int=7))) for number in (1, 2))
    assert [first.parent_id, second.parent_id] == ["", ""]
    assert first.trace_id != TRACE
    assert links(first) == {"submission": (TRACE, SPAN)}
    assert links(second)["attempt before"] == (first.trace_id, first.span_id)
    assert first.attributes["trainshed.sweep.id"] == str(UUID(int=7))


def test_an_attempt_at_a_job_without_a_trace_begins_one(traces: Collector) -> None:
    first, second = (recorded(traces, make_claim(number, traceparent=None)) for number in (1, 2))
    assert (first.parent_id, links(first)) == ("", {})
    assert links(second) == {"attempt before": (first.trace_id, first.span_id)}


def test_a_first_attempt_is_not_recorded_if_its_submission_was_not_sampled(traces: Collector) -> None:
    unsampled = make_claim(traceparent=f"00-{TRACE}-{SPAN}-00")
    with begun(unsampled) as trace:
        assert trace.fields == {}
        trace.begin_phase(Phase.TRAINING)
        trace.end(AttemptOutcome.SUCCEEDED)
    recorded(traces, make_claim(traceparent=None, attempt=AttemptId(UUID(int=2), 1)))
    assert {span.attributes.get("trainshed.job.id") for span in traces.spans} == {str(UUID(int=2))}


def test_phases_and_the_report_are_children_one_after_another(traces: Collector) -> None:
    checkpoint = StoredCheckpoint(next_epoch=3, state=b"")
    with begun(make_claim(checkpoint=checkpoint)) as trace:
        assert trace.fields == {"trace": TRACE}
        for phase in (Phase.LOADING_DATA, Phase.TRAINING):
            trace.begin_phase(phase)
        trace.add_epoch(make_epoch(3))
        failure = AttemptFailure("non_finite_loss", "it is NaN")
        trace.begin_report(failure)
        trace.end(AttemptOutcome.FAILED, failure)
        trace.end(AttemptOutcome.SUCCEEDED)

    attempt = received(traces, make_claim())
    loading, training, report = traces.within(attempt)
    assert [loading.name, training.name, report.name] == ["loading_data", "training", "report"]
    assert loading.ended_ns <= training.started_ns <= training.ended_ns <= report.started_ns
    assert [(part.failed, part.message) for part in (loading, training, report, attempt)] == [
        (False, ""), (True, "it is NaN"), (False, ""), (True, "it is NaN"),
    ]  # fmt: skip
    [(name, epoch)] = training.events
    assert (name, epoch["epoch"], epoch["loss"]) == ("epoch", 4, 0.25)
    assert attempt.attributes == {
        "messaging.system": "trainshed",
        "messaging.operation.type": "process",
        "messaging.operation.name": "attempt",
        "messaging.destination.name": "gpu",
        "messaging.message.id": str(JOB),
        "trainshed.job.id": str(JOB),
        "trainshed.job.kind": "train",
        "trainshed.attempt": 1,
        "trainshed.worker": "host:1",
        "trainshed.device": "CPU",
        "trainshed.resumed_from_epoch": 3,
        "trainshed.attempt.outcome": "failed",
        "error.type": "non_finite_loss",
    }


def test_an_attempt_whose_end_is_not_known_is_not_recorded(traces: Collector) -> None:
    with begun(make_claim()) as trace:
        trace.begin_phase(Phase.TRAINING)
        trace.begin_report()
    tracing.stop()
    assert [span.name for span in traces.spans] == ["training"]


@pytest.mark.parametrize("number", [1, 2])
def test_a_lost_attempt_is_recorded_as_the_span_that_its_process_had_begun(
    traces: Collector, number: int
) -> None:
    claim = make_claim(number)
    with begun(claim) as trace:
        trace.begin_phase(Phase.TRAINING)
        trace.begin_phase(Phase.EVALUATING)  # and is killed
    lost = make_lost(claim)
    record_lost(lost)

    attempt = received(traces, claim)
    [training] = traces.within(attempt)
    assert (training.name, training.trace_id) == ("training", attempt.trace_id)
    assert (attempt.failed, attempt.message) == (True, "it broke")
    assert attempt.attributes["trainshed.attempt.outcome"] == "lost"
    assert attempt.attributes["error.type"] == "worker_lost"
    assert attempt.started_ns == int(lost.started_at.timestamp()) * 1_000_000_000
    assert links(attempt) == links(recorded(traces, replace(claim, request_id="again")))


def test_a_lost_attempt_does_not_end_before_it_began_if_clocks_differ(traces: Collector) -> None:
    record_lost(make_lost(make_claim(), started_at=datetime(2100, 1, 1, tzinfo=UTC)))
    attempt = received(traces, make_claim())
    assert attempt.started_ns <= attempt.ended_ns


def test_nothing_is_recorded_where_traces_are_off() -> None:
    with begun(make_claim()) as trace:
        trace.begin_phase(Phase.TRAINING)
        trace.add_epoch(make_epoch())
        trace.begin_report()
        trace.end(AttemptOutcome.SUCCEEDED)
    record_lost(make_lost(make_claim()))
    assert trace.fields == {}
