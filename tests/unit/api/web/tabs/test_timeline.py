"""The tab `timeline`: bars over a common axis, and events in words."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from api.web.tabs.timeline import Axis, entries
from shared.lifecycle import EventType
from shared.schemas import JobEvent
from shared.store.timelines import EnteredPhase, RecordedEpochs, Timeline

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def event(seconds: float, type_: EventType, attempt: int = 1, **data: object) -> JobEvent:
    return JobEvent(job_id=UUID(int=1), seq=1, at=after(seconds), type=type_, attempt=attempt, data=data)


def test_events_are_told_in_words_in_the_order_of_their_times() -> None:
    course = Timeline(
        [
            event(0, EventType.SUBMITTED, 0),
            event(1, EventType.CLAIMED, worker="host:1"),
            event(9, EventType.RETRY_SCHEDULED, code="data_unavailable", message="no route", retry_in_s=2.0),
            event(10, EventType.EDITED, name="another"),
            event(11, EventType.RELEASED, preempted_by="01a21f9a-f13c-7049-b69a-b52fd89d1964"),
            event(12, EventType.RELEASED),
        ],
        [EnteredPhase(1, "loading_data", after(2))],
        [RecordedEpochs(1, 0, 4, after(3), after(8))],
    )
    assert [(entry.since_s, entry.text) for entry in entries(course)] == [
        (0, "The job was submitted"),
        (1, "By host:1"),
        (2, "Loading data"),
        (3, "Epochs 1 to 5"),
        (9, "It failed and is tried again: data_unavailable: no route: in 2.0 s"),
        (10, "name: another"),
        (11, "It gave its slot to the urgent job d89d1964"),
        (12, "Its worker was stopped and gave it back"),
    ]


def test_a_moment_lies_within_the_axis() -> None:
    axis = Axis(after(0), after(10))
    assert [axis.place(after(seconds)) for seconds in (-5, 0, 2.5, 10, 20)] == [0, 0, 25, 100, 100]
