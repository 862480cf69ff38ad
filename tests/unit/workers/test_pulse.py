"""The pulse of a pool process, as its parent sees it, and what they tell each other."""

import os
from collections.abc import Iterator
from threading import Event
from uuid import uuid4

import pytest

from shared.errors import CancelRequested, LeaseLost, MaxRuntimeExceeded, StaleAttempt, StopRequested
from tests.support.fakes import MonotonicClock
from tests.support.queue_driver import AttemptId
from tests.support.waiting import wait_until
from workers import marks, pulse
from workers.marks import MAX_ATTEMPTS, Mark, Orders
from workers.pulse import Pulse, PulseReader

LEASE_S = 30.0


def attempt() -> AttemptId:
    return AttemptId(uuid4(), 2_147_483_647)


@pytest.fixture
def process_id() -> str:
    return f"test-{uuid4()}"


@pytest.fixture
def moved() -> MonotonicClock:
    """The clock of a process and its parent."""
    return MonotonicClock()


@pytest.fixture
def own(process_id: str, moved: MonotonicClock) -> Iterator[Pulse]:
    """The pulse of this process, which does not beat yet."""
    own = Pulse(pulse.path(process_id), lease_s=LEASE_S, clock=moved)
    yield own
    own.close()


@pytest.fixture
def reader(own: Pulse, process_id: str, moved: MonotonicClock) -> Iterator[PulseReader]:
    """What the parent sees of that pulse."""
    del own  # whose file it opens
    reader = PulseReader.adopt(process_id, moved)
    assert reader is not None
    yield reader
    reader.close()


def test_a_process_that_is_not_ready_has_no_pulse(process_id: str) -> None:
    assert PulseReader.adopt(process_id) is None


@pytest.mark.usefixtures("reader")
def test_no_file_is_left_once_the_parent_has_opened_it(process_id: str) -> None:
    assert not pulse.path(process_id).exists()


@pytest.mark.slow
def test_a_beat_ends_a_silence(own: Pulse, reader: PulseReader, moved: MonotonicClock) -> None:
    for seconds in (0.5, 1.0):
        moved.advance(0.5)
        assert reader.look() == seconds
    own.start()
    wait_until(lambda: reader.look() == 0, "it beats")


def test_a_word_of_the_parent_is_not_a_beat(reader: PulseReader, moved: MonotonicClock) -> None:
    moved.advance(0.5)
    reader.tell(Orders(renewed_at=1.0))
    moved.advance(0.5)
    assert reader.look() == 1.0


def test_the_parent_reads_which_attempts_are_held_and_how_far_the_one_that_runs_is(
    own: Pulse, reader: PulseReader, moved: MonotonicClock
) -> None:
    first, second = attempt(), attempt()
    assert reader.mark() == Mark()
    with own.holding([first, second]):
        assert reader.mark() == Mark((first, second))
        own.begin(1, 60.0)
        began = Mark((first, second), 1, 60.0, moved() + 60.0, moved())
        assert reader.mark() == began
        assert began.attempt == second
        moved.advance(1)
        own.check()
        own.reporting()
        assert reader.mark() == Mark((first, second), 1, 60.0, began.deadline, moved(), is_reporting=True)
    assert reader.mark() == Mark()


def test_the_parent_is_told_of_steps_ten_times_a_second_at_most(
    own: Pulse, reader: PulseReader, moved: MonotonicClock
) -> None:
    with own.holding([attempt()]):
        own.begin(0)
        seen = set()
        for _ in range(100):
            moved.advance(1 / 64)
            own.check()
            mark = reader.mark()
            assert mark is not None
            seen.add(mark.stepped_at)
    assert 10 < len(seen) <= 17


def test_as_many_attempts_as_a_process_may_hold_fit_into_its_file(own: Pulse, reader: PulseReader) -> None:
    attempts = [attempt() for _ in range(MAX_ATTEMPTS)]
    asked = frozenset(attempts)
    reader.tell(Orders(1e9 / 3, cancelled=asked, preempted=frozenset((each, uuid4()) for each in attempts)))
    with own.holding(attempts):
        own.begin(MAX_ATTEMPTS - 1, 1e9 / 3)
        mark = reader.mark()
        assert mark is not None
        assert mark.attempts == tuple(attempts)
        assert own.preempted_by == dict(reader.orders.preempted)[attempts[-1]]


def test_a_torn_text_is_left_for_the_next_look(own: Pulse, reader: PulseReader) -> None:
    cancelled = attempt()
    with own.holding([cancelled]):
        own.begin(0)
        reader.tell(Orders(renewed_at=1.0, cancelled=frozenset([cancelled])))
        with pytest.raises(CancelRequested):
            own.check()
        for offset in (marks._MARK_AT, marks._ORDERS_AT):
            os.pwrite(own._file, b"x", offset + 20)
        assert reader.mark() is None
        with pytest.raises(CancelRequested):
            own.check()


def test_an_attempt_is_interrupted_by_what_the_parent_tells_of_it_and_of_no_other(
    own: Pulse, reader: PulseReader
) -> None:
    running, other = attempt(), attempt()
    with own.holding([running, other]):
        own.begin(0)
        of_other = frozenset([other])
        reader.tell(Orders(cancelled=of_other, stale=of_other, preempted=frozenset([(other, uuid4())])))
        own.check()
        assert own.preempted_by is None
        reader.tell(Orders(cancelled=frozenset([running])))
        with pytest.raises(CancelRequested):
            own.check()
        reader.tell(Orders(stale=frozenset([running])))
        with pytest.raises(StaleAttempt):
            own.check()


def test_a_stop_of_the_worker_interrupts_the_attempt(own: Pulse) -> None:
    with own.holding([attempt()]):
        own.begin(0)
        own.stop.set()
        with pytest.raises(StopRequested):
            own.check()


def test_an_attempt_that_exceeds_its_time_limit_is_interrupted(own: Pulse, moved: MonotonicClock) -> None:
    with own.holding([attempt()]):
        own.begin(0, 5.0)
        own.check()
        moved.advance(5.1)
        with pytest.raises(MaxRuntimeExceeded, match="longer than max_runtime_s, 5:"):
            own.check()


def test_an_attempt_ends_when_its_parent_has_renewed_nothing_for_two_thirds_of_a_lease(
    own: Pulse, reader: PulseReader, moved: MonotonicClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "_RENEWAL_S", 0.0)
    moved.advance(1_000)
    with own.holding([attempt()]):
        own.begin(0)
        moved.advance(LEASE_S * 2 / 3 - 1)
        own.check()
        reader.tell(Orders(renewed_at=moved()))
        moved.advance(LEASE_S * 2 / 3 - 1)
        own.check()
        moved.advance(1.1)
        with pytest.raises(LeaseLost):
            own.check()


def test_an_attempt_goes_on_if_its_parent_renews_the_lease_after_both_were_suspended(
    own: Pulse, reader: PulseReader, moved: MonotonicClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own.holding([attempt()]):
        own.begin(0)
        moved.advance(1_000)
        monkeypatch.setattr(own._closing, "wait", lambda _: reader.tell(Orders(renewed_at=moved())))
        own.check()


def test_a_process_is_alone_until_its_parent_renews_again(
    own: Pulse, reader: PulseReader, moved: MonotonicClock
) -> None:
    assert not own.is_alone()
    moved.advance(LEASE_S)
    assert own.is_alone()
    reader.tell(Orders(renewed_at=moved()))
    assert not own.is_alone()


def test_a_process_ends_itself_when_its_parent_has_died(
    process_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "_INTERVAL_S", 0.01)
    parents, ended = [7, 7, 7, 1], Event()
    own = Pulse(
        pulse.path(process_id),
        lease_s=LEASE_S,
        parent=lambda: parents.pop(0) if len(parents) > 1 else parents[0],
        end=ended.set,
    )
    own.start()
    assert ended.wait(10)
    own.close()
    pulse.path(process_id).unlink()
