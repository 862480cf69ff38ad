"""What happens now: next jobs, last results, jobs that ended lately."""

from datetime import timedelta
from functools import partial

from shared.db.engine import Database
from shared.lifecycle import JobState
from shared.store import activity
from tests.support import queue_driver


def test_the_next_jobs_of_all_queues_come_in_the_order_of_their_places(database: Database) -> None:
    first = queue_driver.submit(database, queue="a")
    second = queue_driver.submit(database, queue="b")
    low = queue_driver.submit(database, priority="low")
    high = queue_driver.submit(database, priority="high")
    queue_driver.running(database, queue="c")

    assert database.read(lambda session: activity.next_to_start(session, limit=10)) == [
        high,
        first,
        second,
        low,
    ]
    assert database.read(lambda session: activity.next_to_start(session, limit=1)) == [high]


def test_the_last_result_is_first(database: Database) -> None:
    early, late = queue_driver.submit(database), queue_driver.failed(database)
    queue_driver.claim(database, queue_driver.submit(database))
    ended = [job.id for job in database.read(lambda session: activity.last_finished(session, limit=10))]

    assert ended == [late]
    assert early not in ended


def test_jobs_are_counted_in_the_period_in_which_they_ended(database: Database) -> None:
    queue_driver.failed(database)
    queue_driver.cancelled(database)
    queue_driver.submit(database)
    now = database.read(activity.read_now)

    def totals(minutes_later: float) -> list[int]:
        until = now + timedelta(minutes=minutes_later)
        count = partial(activity.finished_lately, until=until, period_s=300, periods=3)
        return [period.total for period in database.read(count)]

    assert [totals(later) for later in (1, 6, 11, 16, -1)] == [
        *([0, 0, 2], [0, 2, 0], [2, 0, 0]),
        *([0, 0, 0], [0, 0, 0]),
    ]


def test_a_period_tells_the_final_states_apart(database: Database) -> None:
    queue_driver.failed(database)
    until = database.read(activity.read_now) + timedelta(seconds=1)

    [period] = database.read(partial(activity.finished_lately, until=until, period_s=60, periods=1))

    assert period.since == until - timedelta(seconds=60)
    assert period.states == {JobState.CANCELLED: 0, JobState.FAILED: 1, JobState.SUCCEEDED: 0}
