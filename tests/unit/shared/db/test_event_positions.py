"""Positions of events: the order in which the events of all jobs were written."""

from sqlalchemy import delete, insert, select

from shared.db.engine import Database
from shared.db.tables import Job, JobEvent
from shared.lifecycle import EventType
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import cancelled, record, running, submit


def _positions(database: Database) -> list[int]:
    ordered = select(JobEvent.position).order_by(JobEvent.position, JobEvent.seq)
    positions = database.read(lambda session: session.scalars(ordered).all())
    return [position for position in positions if position is not None]


def test_each_event_has_a_greater_position_than_its_predecessor(database: Database) -> None:
    attempt = running(database)
    record(database, attempt, 3)
    submit(database)

    positions = _positions(database)

    assert len(set(positions)) == len(positions) == 6
    in_order = database.read(
        lambda session: session.scalars(
            select(JobEvent.seq).where(JobEvent.job_id == attempt.job_id).order_by(JobEvent.position)
        ).all()
    )
    assert in_order == [1, 2, 3, 4, 5]


def test_the_position_of_a_deleted_event_is_not_reused(database: Database) -> None:
    job_id = cancelled(database)
    last = _positions(database)[-1]
    database.write(lambda session: session.execute(delete(Job).where(Job.id == job_id)))

    submit(database)

    assert _positions(database)[0] > last


def test_events_written_by_one_statement_all_have_a_position(database: Database) -> None:
    job_id, now = submit(database), FrozenClock().moment
    rows = [
        {"job_id": job_id, "seq": seq, "at": now, "type": EventType.PROGRESS, "attempt": 1, "data": {}}
        for seq in range(2, 5)
    ]

    database.write(lambda session: session.execute(insert(JobEvent), rows))

    positions = _positions(database)
    assert len(positions) == 4
    assert positions[0] < positions[1]
