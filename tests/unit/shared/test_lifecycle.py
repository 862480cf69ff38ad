"""The state machine of jobs, without a database."""

from itertools import product

import pytest

from shared.lifecycle import EVENTS, TERMINAL, TRANSITIONS, AttemptOutcome, EventType, JobState


def test_every_event_has_an_edge() -> None:
    assert set(EVENTS) == set(EventType)


def test_transitions_are_those_of_the_design() -> None:
    queued, running = JobState.QUEUED, JobState.RUNNING
    assert {
        (queued, running),
        (queued, JobState.CANCELLED),
        (running, queued),
        (running, JobState.SUCCEEDED),
        (running, JobState.FAILED),
        (running, JobState.CANCELLED),
    } == TRANSITIONS


@pytest.mark.parametrize(("state", "event"), [*product(TERMINAL, EventType)])
def test_no_event_leaves_a_terminal_state(state: JobState, event: EventType) -> None:
    edge = EVENTS[event]
    assert state not in edge.sources or edge.target is None


def test_every_state_is_reachable_and_every_unfinished_state_can_be_left() -> None:
    reached = {edge.target for edge in EVENTS.values()}
    left = {source for source, _ in TRANSITIONS}
    assert set(JobState) <= reached
    assert left == set(JobState) - TERMINAL


def test_only_the_event_that_creates_a_job_has_no_source() -> None:
    assert [event for event, edge in EVENTS.items() if not edge.sources] == [EventType.SUBMITTED]


def test_each_terminal_state_has_the_event_of_its_name() -> None:
    assert {event: EVENTS[event].target for event in map(EventType, TERMINAL)} == {
        EventType(state): state for state in TERMINAL
    }


def test_each_event_that_ends_an_attempt_has_an_outcome() -> None:
    # every event that leaves `running` ends an attempt; a retry and a failure have the same outcome
    ends = [event for event, edge in EVENTS.items() if JobState.RUNNING in edge.sources and edge.target]
    assert len(ends) == len(AttemptOutcome) + 1
