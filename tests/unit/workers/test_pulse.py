"""The pulse of a pool process, as its parent sees it."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.support.fakes import MonotonicClock
from tests.support.queue_driver import AttemptId
from tests.support.waiting import wait_until
from workers import pulse
from workers.pulse import Pulse, PulseReader


@pytest.fixture
def process_id() -> str:
    return f"test-{uuid4()}"


@pytest.fixture
def own(process_id: str) -> Iterator[Pulse]:
    """The pulse of this process, which does not beat yet."""
    own = Pulse(pulse.path(process_id))
    yield own
    own.close()


@pytest.fixture
def reader(own: Pulse, process_id: str) -> Iterator[PulseReader]:
    """What the parent sees of that pulse."""
    del own  # whose file it opens
    reader = PulseReader.adopt(process_id, MonotonicClock())
    assert reader is not None
    yield reader
    reader.close()


def test_a_process_that_is_not_ready_has_no_pulse(process_id: str) -> None:
    assert PulseReader.adopt(process_id) is None


@pytest.mark.usefixtures("reader")
def test_no_file_is_left_once_the_parent_has_opened_it(process_id: str) -> None:
    assert not pulse.path(process_id).exists()


@pytest.mark.slow
def test_a_beat_ends_a_silence(own: Pulse, process_id: str) -> None:
    clock = MonotonicClock()
    reader = PulseReader.adopt(process_id, clock)
    assert reader is not None
    clock.advance(0.5)
    assert reader.look() == 0.5
    clock.advance(0.5)
    assert reader.look() == 1.0
    own.start()
    wait_until(lambda: reader.look() == 0, "it beats")
    reader.close()


def test_the_parent_reads_which_attempt_runs(own: Pulse, reader: PulseReader) -> None:
    attempt = AttemptId(uuid4(), 2_147_483_647)
    assert reader.attempt() is None
    with own.of_attempt(attempt):
        assert reader.attempt() == attempt
    assert reader.attempt() is None
