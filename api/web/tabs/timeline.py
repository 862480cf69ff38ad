"""The tab `timeline` of a job's page: its course in time, as bars over a common axis and as a list."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from starlette.datastructures import QueryParams

from api.services import Services
from api.web.formats import clock, duration, short_id, word
from shared.lifecycle import EVENTS, EventType, JobState
from shared.schemas import Attempt, JobDetail, JobEvent
from shared.store import activity, timelines
from shared.store.timelines import RecordedEpochs, Timeline

_LONG_WAIT = 0.5  # a first wait longer than this share of the whole is cut, so that the rest can be seen
_KEPT_WAIT = 0.1
_STEPS_S = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    20,
    30,
    60,
    120,
    300,
    600,
    1_200,
    1_800,
    3_600,
    7_200,
    21_600,
    43_200,
    86_400,
)
_TICKS = 6

_DETAILS = {
    EventType.SUBMITTED: "The job was submitted",
    EventType.CANCEL_REQUESTED: "Its cancellation was requested",
    EventType.RELEASED: "Its worker was stopped and gave it back",
    EventType.LEASE_EXPIRED: "Its worker or process was lost",
    EventType.RETRY_SCHEDULED: "It failed and is tried again",
    EventType.CANCELLED: "It was cancelled",
    EventType.SUCCEEDED: "Its results are stored",
    EventType.FAILED: "It failed",
}


@dataclass(frozen=True)
class Axis:
    """The time axis of the bars.

    Attributes:
        ticks: positions in percent, each with the time since the job was submitted.
    """

    start: datetime
    end: datetime
    ticks: tuple[tuple[float, str], ...] = ()

    def place(self, at: datetime) -> float:
        """Return the position of a moment, in percent."""
        share = (at - self.start) / (self.end - self.start)
        return 100 * min(1.0, max(0.0, share))


@dataclass(frozen=True)
class Bar:
    """A bar for a period of a job.

    Attributes:
        kind: `waiting`, `starting` or a phase.
        start, width: the bar's left end and width, in percent of the axis.
    """

    kind: str
    title: str
    start: float
    width: float


@dataclass(frozen=True)
class Lane:
    """A row of bars: the queue, or an attempt.

    Attributes:
        outcome: the outcome of the attempt; None while it runs, and for the queue.
        notes: texts about an attempt, such as the epoch after which it resumed and the epochs it recorded.
    """

    title: str
    bars: tuple[Bar, ...]
    worker: str = ""
    outcome: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A line of the list of events.

    Attributes:
        since_s: seconds since the job was submitted.
        type: the type of the event, or `phase` or `epochs`.
        until: the end of an entry with a duration, such as the epochs of an attempt; None for the others.
    """

    at: datetime
    since_s: float
    type: str
    attempt: int
    text: str
    until: datetime | None = None


def read(services: Services, job: JobDetail, _query: QueryParams) -> dict[str, Any]:
    """Return the template's variables."""
    course = services.database.read(partial(timelines.read, job_id=job.id))
    end = job.finished_at or services.database.read(activity.read_now)
    axis = _axis(job, course, end)
    lanes = [_queue_lane(course, axis, end)]
    lanes += [_lane(attempt, course, axis, end) for attempt in job.attempts]
    kinds = dict.fromkeys(bar.kind for lane in lanes for bar in lane.bars)
    return {"axis": axis, "lanes": lanes, "kinds": list(kinds), "entries": entries(course)}


def entries(course: Timeline) -> list[Entry]:
    """Return the entries of the list, oldest first; the epochs of an attempt are one entry."""
    submitted = course.events[0].at

    def entry(at: datetime, type_: str, attempt: int, text: str, until: datetime | None = None) -> Entry:
        return Entry(at, (at - submitted).total_seconds(), type_, attempt, text, until)

    listed = [entry(event.at, event.type, event.attempt, _text(event)) for event in course.events]
    listed += [entry(each.at, "phase", each.attempt, word(each.phase)) for each in course.phases]
    listed += [
        entry(each.since, "epochs", each.attempt, _epochs_text(each), each.until) for each in course.epochs
    ]
    return sorted(listed, key=lambda entry: entry.at)


def _epochs_text(epochs: RecordedEpochs) -> str:
    first, last = epochs.first + 1, epochs.last + 1
    return f"Epoch {first}" if first == last else f"Epochs {first} to {last}"


def _text(event: JobEvent) -> str:
    by = event.data.get("by")
    return _what(event) + (f", by {by['name']}" if by else "")


def _what(event: JobEvent) -> str:
    data = event.data
    match event.type:
        case EventType.CLAIMED:
            return f"By {data.get('worker', 'a worker')}"
        case EventType.EDITED:
            return ", ".join(f"{name}: {value}" for name, value in data.items() if name != "by")
        case EventType.RELEASED if data.get("preempted_by"):
            return f"It gave its slot to the urgent job {short_id(data['preempted_by'])}"
    reasons = [str(data[name]) for name in ("code", "message") if data.get(name)]
    if data.get("retry_in_s") is not None:
        reasons.append(f"in {duration(data['retry_in_s'])}")
    return ": ".join([_DETAILS[event.type], *reasons])


def _axis(job: JobDetail, course: Timeline, end: datetime) -> Axis:
    start = job.created_at
    first = next((event.at for event in course.events if event.type is EventType.CLAIMED), None)
    end = max(end, start + timedelta(milliseconds=1))
    if first is not None and first - start > _LONG_WAIT * (end - start):
        start = max(start, first - _KEPT_WAIT * max(end - first, timedelta(seconds=1)))
    span = (end - start).total_seconds()
    days = _STEPS_S[-1] * max(1, round(span / _STEPS_S[-1] / _TICKS))
    step = next((step for step in _STEPS_S if span / step <= _TICKS), days)
    offset = (start - job.created_at).total_seconds()
    marks = (-(-offset // step) * step + step * number for number in range(_TICKS + 1))
    ticks = tuple((100 * (mark - offset) / span, duration(mark)) for mark in marks if mark - offset <= span)
    return Axis(start, end, ticks)


def _queue_lane(course: Timeline, axis: Axis, end: datetime) -> Lane:
    """Return the lane of waits: from each event that queued the job to the event that ended the wait."""
    bars, since = [], None
    for event in course.events:
        target = EVENTS[event.type].target
        if target is None:
            continue
        if since is not None:
            bars.append(_bar("waiting", since, event.at, axis))
        since = event.at if target is JobState.QUEUED else None
    if since is not None:
        bars.append(_bar("waiting", since, end, axis))
    return Lane("Queue", tuple(bars))


def _lane(attempt: Attempt, course: Timeline, axis: Axis, end: datetime) -> Lane:
    until = attempt.finished_at or end
    starts = [("starting", attempt.started_at)]
    starts += [(each.phase, each.at) for each in course.phases if each.attempt == attempt.number]
    ends = [at for _, at in starts[1:]] + [until]
    bars = [_bar(kind, since, to, axis) for (kind, since), to in zip(starts, ends, strict=True)]
    return Lane(
        f"Attempt {attempt.number}",
        tuple(bars),
        attempt.worker,
        attempt.outcome,
        tuple(_notes(attempt, course.epochs)),
    )


def _notes(attempt: Attempt, epochs: Sequence[RecordedEpochs]) -> Iterator[str]:
    before = max((each.last + 1 for each in epochs if each.attempt < attempt.number), default=0)
    if before:
        yield f"resumed after epoch {before}"
    elif attempt.number > 1:
        yield "started from the beginning"
    yield from (_epochs_text(each).lower() + " recorded" for each in epochs if each.attempt == attempt.number)
    if attempt.error_message:
        yield attempt.error_message


def _bar(kind: str, since: datetime, until: datetime, axis: Axis) -> Bar:
    start = axis.place(since)
    lasted = duration((until - since).total_seconds())
    title = f"{word(kind)}: {lasted}, {since:%Y-%m-%d} {clock(since)} to {clock(until)} UTC"
    return Bar(kind, title, start, axis.place(until) - start)
