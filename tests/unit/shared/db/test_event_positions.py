"""The order of all jobs' events is the order in which they are written."""

from sqlalchemy import delete, insert, select

from shared.db.engine import Database
from shared.db.tables import Job, JobEvent
from shared.lifecycle import EventType
from tests.support.factories import cancelled, record, running, submitted
from tests.support.fakes import FrozenClock


def _positions(database: Database) -> list[int]:
    table = JobEvent
    found = database.read(
        lambda session: session.scalars(select(table.position).order_by(table.position, table.seq)).all()
    )
    return [position for position in found if position is not None]


def test_each_event_has_a_greater_position_than_the_one_before(database: Database) -> None:
    attempt = running(database)
    record(database, attempt, 3)
    submitted(database)

    positions = _positions(database)

    assert len(set(positions)) == len(positions) == 6
    in_order = database.read(
        lambda session: session.scalars(
            select(JobEvent.seq).where(JobEvent.job_id == attempt.job_id).order_by(JobEvent.position)
        ).all()
    )
    assert in_order == [1, 2, 3, 4, 5]


def test_a_position_is_not_given_again_when_its_event_was_deleted(database: Database) -> None:
    job_id = cancelled(database)
    last = _positions(database)[-1]
    database.write(lambda session: session.execute(delete(Job).where(Job.id == job_id)))

    submitted(database)

    assert _positions(database)[0] > last


def test_events_that_are_written_by_one_statement_all_have_a_position(database: Database) -> None:
    job_id, now = submitted(database), FrozenClock().moment
    rows = [
        {"job_id": job_id, "seq": seq, "at": now, "type": EventType.PHASE_ENTERED, "attempt": 1, "data": {}}
        for seq in range(2, 5)
    ]

    database.write(lambda session: session.execute(insert(JobEvent), rows))

    positions = _positions(database)
    assert len(positions) == 4
    assert positions[0] < positions[1]
