"""The course of a job: events, and the recorded epochs of each attempt."""

from functools import partial

from shared.db.engine import Database
from shared.lifecycle import EventType, Phase
from shared.store import attempts, timelines
from tests.support import factories, queue_driver


def test_a_course_has_each_phase_and_the_epochs_of_each_attempt_as_one_entry(database: Database) -> None:
    first = queue_driver.running(database)
    queue_driver.record_progress(database, first, factories.make_progress(Phase.TRAINING))
    queue_driver.record(database, first, 3)
    database.write(lambda session: attempts.release(session, first))
    second = queue_driver.claim(database, first.job_id).attempt
    queue_driver.record(database, second, 1, first=3)

    course = database.read(partial(timelines.read, job_id=first.job_id))

    assert [event.type for event in course.events] == [
        EventType.SUBMITTED,
        EventType.CLAIMED,
        EventType.RELEASED,
        EventType.CLAIMED,
    ]
    assert [(entered.attempt, entered.phase) for entered in course.phases] == [(1, "training")]
    assert [(epochs.attempt, epochs.first, epochs.last) for epochs in course.epochs] == [(1, 0, 2), (2, 3, 3)]
    claimed, released = course.events[1].at, course.events[2].at
    assert claimed <= course.phases[0].at <= course.epochs[0].since
    assert course.epochs[0].since <= course.epochs[0].until <= released <= course.epochs[1].since


def test_the_seconds_of_epochs_are_in_their_order(database: Database) -> None:
    attempt = queue_driver.running(database)
    assert database.read(partial(timelines.epoch_seconds, job_id=attempt.job_id)) == []
    for epoch, seconds in enumerate((0.5, 0.25)):
        progress = factories.make_progress(factories.make_epoch(epoch, seconds=seconds))
        queue_driver.record_progress(database, attempt, progress)

    assert database.read(partial(timelines.epoch_seconds, job_id=attempt.job_id)) == [0.5, 0.25]
