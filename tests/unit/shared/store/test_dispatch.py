"""Waking up workers, also while the broker is unavailable, and counting the jobs that can start."""

from collections.abc import Mapping
from contextlib import closing
from threading import Event

import pytest

from shared.db.clock import database_now
from shared.db.engine import Database
from shared.lifecycle import JobState
from shared.store import dispatch, queues
from shared.store.dispatch import WakeUps
from tests.support.fakes import RecordingWaker
from tests.support.queue_driver import one_of_each_state, submit
from tests.support.stored import set_columns
from tests.support.waiting import wait_until


def _due(database: Database, *names: str, limit: int = 10) -> dict[str, int]:
    return database.read(lambda session: dispatch.due(session, names or ["default"], limit=limit))


def test_workers_are_woken_up_for_each_queue() -> None:
    waker = RecordingWaker()
    assert dispatch.wake(waker, {"default": 2, "gpu": 1})
    assert waker.woken == [{"default": 2, "gpu": 1}]


def test_an_unavailable_broker_is_logged_and_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    waker = RecordingWaker()
    waker.available = False
    assert not dispatch.wake(waker, {"default": 2, "gpu": 1})
    assert "no worker woken up" in caplog.text
    assert "'jobs': 3" in caplog.text


class _SlowWaker(RecordingWaker):
    """A broker that takes until `may_return` for each call."""

    def __init__(self) -> None:
        super().__init__()
        self.may_return = Event()

    def wake(self, jobs: Mapping[str, int]) -> None:
        super().wake(jobs)
        assert self.may_return.wait(20)


def test_what_is_added_while_the_broker_is_busy_is_one_call() -> None:
    waker = _SlowWaker()
    with closing(WakeUps(waker)) as wake_ups:
        wake_ups.add({"default": 1})
        wait_until(lambda: waker.woken, "the broker is busy")
        for _ in range(3):
            wake_ups.add({"default": 2, "gpu": 1})
        assert len(waker.woken) == 1
        waker.may_return.set()
    assert waker.woken == [{"default": 1}, {"default": 6, "gpu": 3}]


def test_a_broker_that_fails_unexpectedly_is_called_again(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(RecordingWaker):
        def wake(self, jobs: Mapping[str, int]) -> None:
            super().wake(jobs)
            raise RuntimeError("a defect")

    waker = Failing()
    with closing(WakeUps(waker)) as wake_ups:
        wake_ups.add({"default": 1})
        wait_until(lambda: waker.woken, "the broker was called")
        wake_ups.add({"default": 2})
    assert waker.woken == [{"default": 1}, {"default": 2}]
    assert "a defect" in caplog.text


def test_jobs_of_each_queue_are_counted_up_to_the_limit(database: Database) -> None:
    for queue in ("default", "default", "default", "gpu", "other"):
        submit(database, queue=queue)
    assert _due(database, "default", "gpu", "empty") == {"default": 3, "gpu": 1}
    assert _due(database, "default", "gpu", limit=2) == {"default": 2, "gpu": 1}


def test_only_queued_jobs_can_start(database: Database) -> None:
    assert JobState.QUEUED in one_of_each_state(database)
    assert _due(database) == {"default": 1}


def test_a_job_that_is_scheduled_for_later_cannot_start(database: Database) -> None:
    set_columns(database, submit(database), scheduled_at=database_now(60))
    assert _due(database) == {}


def test_jobs_of_a_paused_queue_cannot_start(database: Database) -> None:
    submit(database)
    database.write(lambda session: queues.pause(session, "default"))
    assert _due(database) == {}
    database.write(lambda session: queues.resume(session, "default"))
    assert _due(database) == {"default": 1}
