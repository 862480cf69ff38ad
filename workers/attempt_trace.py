"""The spans of an attempt: one for the attempt, and within it one for each phase and for the report.

The span of a job's first attempt is a child of the span that submitted the job, so the request, the wait and
the work are one trace. A later attempt begins a trace of its own, and so does each attempt at a job of a
sweep, whose common trace would have thousands of spans. These attempts link to the submitting span and to the
previous attempt.

The ids of an attempt's span are derived from the job's id and the attempt's number. So the next attempt can
link to the span although the database does not store its ids, and any process that ends an attempt in the
database can record the span: the pool process itself or, if that was killed, its parent or any reconciler.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, Self
from uuid import UUID

from shared import tracing
from shared.formats.epochs import EpochMetrics
from shared.lifecycle import AttemptOutcome, JobKind, Phase
from shared.store.attempts import Origin
from shared.store.claims import Claim
from shared.store.recovery import WORKER_LOST, LostAttempt
from shared.store.transitions import AttemptFailure, AttemptId

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Span, SpanContext

SERVICE = "trainshed-worker"
"""The service name of a worker's processes in traces."""

_REPORT = "report"


class _Attempted(Protocol):
    """An attempt at a job, and how the job was submitted."""

    @property
    def attempt(self) -> AttemptId: ...
    @property
    def kind(self) -> JobKind: ...
    @property
    def queue(self) -> str: ...
    @property
    def sweep_id(self) -> UUID | None: ...
    @property
    def traceparent(self) -> str | None: ...


class AttemptTrace:
    """The spans of a running attempt; within a `with` block the attempt's span is the current one.

    Does nothing where no traces are exported. The span ends with `end`, and not with the block: if the
    attempt was taken from this process, the process that took it records the span.
    """

    def __init__(self, claim: Claim, *, worker: str, device: str) -> None:
        """Begin the attempt's span."""
        self._span = _begin(claim, worker) if tracing.are_on() else None
        self._part: Span | None = None
        self._stack = ExitStack()
        if self._span is not None:
            self._span.set_attribute("trainshed.device", device)
            if claim.checkpoint is not None:
                self._span.set_attribute("trainshed.resumed_from_epoch", claim.checkpoint.next_epoch)

    def __enter__(self) -> Self:
        self._stack.enter_context(tracing.current(self._span))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def fields(self) -> dict[str, str]:
        """The trace id as a field of a log line; empty if the trace is not exported."""
        context = None if self._span is None else self._span.get_span_context()
        if context is None or not context.trace_flags.sampled:
            return {}
        return {"trace": f"{context.trace_id:032x}"}

    def begin_phase(self, phase: Phase) -> None:
        """End the span of the previous phase, and begin the span of this one."""
        self._begin_part(phase.value)

    def add_epoch(self, metrics: EpochMetrics) -> None:
        """Add a finished epoch to the span of its phase, as an event; a span keeps its last 128 events."""
        if self._part is not None:
            values = {name: value for name, value in metrics.values.items() if value is not None}
            self._part.add_event("epoch", {**values, "epoch": metrics.epoch + 1, "seconds": metrics.seconds})

    def begin_report(self, failure: AttemptFailure | None = None) -> None:
        """End the span of the last phase, as failed if a failure is given, and begin that of the report."""
        if failure is not None and self._part is not None:
            tracing.fail(self._part, failure.code, failure.message)
        self._begin_part(_REPORT)

    def end(self, outcome: AttemptOutcome | None, failure: AttemptFailure | None = None) -> None:
        """End the attempt's span; only the first call has an effect.

        Args:
            outcome: the outcome that the database stored; None if another process records the span.
        """
        span, self._span = self._span, None
        if span is None or outcome is None:
            return
        self._end_part()
        _end(span, outcome, failure)

    def _begin_part(self, name: str) -> None:
        if self._span is None:
            return
        self._end_part()
        self._part = tracing.begin(name)

    def _end_part(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.end()


def record_lost(lost: LostAttempt, clock_ns: Callable[[], int] = time.time_ns) -> None:
    """Record the span of a lost attempt; its phases have the spans that its process has exported.

    Does nothing where no traces are exported.
    """
    record_ended(lost, AttemptOutcome.LOST, AttemptFailure(WORKER_LOST, lost.reason), clock_ns)


def record_ended(
    ended: LostAttempt | Origin,
    outcome: AttemptOutcome,
    failure: AttemptFailure | None,
    clock_ns: Callable[[], int] = time.time_ns,
) -> None:
    """Record the span of an attempt that another process ended, as `record_lost` does."""
    if tracing.are_on():
        # the start is a time of the database's clock, which may be ahead of this host's
        began_at = min(_nanoseconds(ended.started_at), clock_ns())
        span = _begin(ended, ended.worker, began_at)
        if span is not None:
            _end(span, outcome, failure)


def _begin(job: _Attempted, worker: str, at_ns: int | None = None) -> "Span | None":
    from opentelemetry.context import Context

    own, submission = _ids(job, job.attempt.number), tracing.remote(job.traceparent)
    return tracing.begin(
        f"attempt {job.queue}",
        "consumer",
        attributes={
            "messaging.system": "trainshed",
            "messaging.operation.type": "process",
            "messaging.operation.name": "attempt",
            "messaging.destination.name": job.queue,
            "messaging.message.id": str(job.attempt.job_id),
            "trainshed.job.id": str(job.attempt.job_id),
            "trainshed.job.kind": job.kind.value,
            "trainshed.attempt": job.attempt.number,
            "trainshed.worker": worker,
            **({} if job.sweep_id is None else {"trainshed.sweep.id": str(job.sweep_id)}),
        },
        parent=submission if _is_child(job, job.attempt.number) else Context(),
        links=_links(job),
        ids=own,
        at_ns=at_ns,
    )


def _end(span: "Span", outcome: AttemptOutcome, failure: AttemptFailure | None) -> None:
    span.set_attribute("trainshed.attempt.outcome", outcome.value)
    if failure is not None:
        tracing.fail(span, failure.code, failure.message)
    span.end()


def _is_child(job: _Attempted, number: int) -> bool:
    return number == 1 and job.traceparent is not None and job.sweep_id is None


def _links(job: _Attempted) -> "list[Link]":
    """Return links to the submission and to the previous attempt."""
    from opentelemetry.trace import Link

    number, links = job.attempt.number, []
    if job.traceparent is not None:
        links.append(Link(_submission(job), {"trainshed.link": "submission"}))
    if number > 1:
        links.append(Link(_ids(job, number - 1), {"trainshed.link": "attempt before"}))
    return links


def _submission(job: _Attempted) -> "SpanContext":
    from opentelemetry.trace import get_current_span

    return get_current_span(tracing.remote(job.traceparent)).get_span_context()


def _ids(job: _Attempted, number: int) -> "SpanContext":
    """Return the context of an attempt's span; every process computes the same one."""
    from opentelemetry.trace import SpanContext

    digest = sha256(f"{job.attempt.job_id}/{number}".encode()).digest()
    submission, own = _submission(job), int.from_bytes(digest[:16], "big")
    return SpanContext(
        trace_id=submission.trace_id if _is_child(job, number) else own,
        span_id=int.from_bytes(digest[16:24], "big"),
        is_remote=True,
        trace_flags=submission.trace_flags,
    )


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000_000)
