"""The span of a submission, which its jobs remember: the attempts at them are its children, or link to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from shared import tracing
from shared.store.submissions import NewJobs

if TYPE_CHECKING:
    from opentelemetry.trace import Span


@contextmanager
def traced(new: NewJobs) -> Iterator[NewJobs]:
    """Have the block be a span, within that of the request; yield the jobs with its context to store."""
    span = _begin(new) if tracing.are_on() else None
    if span is None:
        yield new
        return
    try:
        with tracing.current(span):
            yield replace(new, traceparent=tracing.traceparent(span))
    except BaseException as error:
        tracing.fail(span, type(error).__name__)
        raise
    finally:
        span.end()


def _begin(new: NewJobs) -> "Span | None":
    return tracing.begin(f"submit {new.jobs[0].queue}", "producer", attributes=_attributes(new))


def _attributes(new: NewJobs) -> dict[str, str | int]:
    """Return attributes in OpenTelemetry's conventions for messaging."""
    first = new.jobs[0]
    attributes: dict[str, str | int] = {
        "messaging.system": "trainshed",
        "messaging.operation.type": "send",
        "messaging.operation.name": "submit",
        "messaging.destination.name": first.queue,
    }
    if new.sweep is None:
        return {**attributes, "messaging.message.id": str(first.id)}
    return {
        **attributes,
        "messaging.batch.message_count": len(new.jobs),
        "trainshed.sweep.id": str(new.sweep.id),
    }
