"""A statement of the hot path does what SQLAlchemy would do with it, and is compiled once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.statements import Statement
from shared.db.tables import Base
from shared.store.submit import submit_job
from tests.support.factories import make_new_job
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import submit
from tests.support.statements import recorded_statements

_EVENTS, _JOBS, _PAUSED = (Base.metadata.tables[name] for name in ("job_events", "jobs", "queues"))


def _row(name: str) -> dict[str, Any]:
    return {"name": name, "paused_at": FrozenClock().moment}


def test_values_are_converted_in_both_directions(database: Database) -> None:
    new, moment = make_new_job(), FrozenClock().moment
    database.write(lambda session: submit_job(session, new))
    event = {
        "job_id": new.id,
        "seq": 2,
        "at": moment,
        "type": "cancelled",
        "attempt": 0,
        "data": {"a": [1]},
    }
    columns = [_EVENTS.c[name] for name in event]
    read = Statement(select(*columns).where(_EVENTS.c.job_id == bindparam("of_job"), _EVENTS.c.seq == 2))
    assert database.read(lambda session: read.one_or_none(session, {"of_job": new.id})) is None
    database.write(lambda session: Statement(insert(_EVENTS)).execute(session, event))
    row = database.read(lambda session: read.one_or_none(session, {"of_job": new.id}))
    assert vars(row) == event


def test_an_update_returns_its_row_and_takes_further_columns(database: Database) -> None:
    job_id, other = submit(database), submit(database)
    changed = Statement(
        update(_JOBS).where(_JOBS.c.id == bindparam("of_job")).values(max_attempts=7).returning(_JOBS.c.id)
    )

    def change(session: Session) -> None:
        assert changed.one_or_none(session, {"of_job": job_id, "name": "new"}).id == job_id
        assert changed.one_or_none(session, {"of_job": uuid4(), "name": "new"}) is None
        assert changed.one_or_none(session, {"of_job": other}).id == other

    database.write(change)
    rows = database.read(lambda session: session.execute(select(_JOBS.c.name, _JOBS.c.max_attempts)).all())
    assert set(map(tuple, rows)) == {("new", 7), (None, 7)}


def test_each_row_is_returned_in_its_order_and_what_waited_was_executed_before(database: Database) -> None:
    job_ids = [submit(database) for _ in range(3)]
    changed = Statement(
        update(_JOBS).where(_JOBS.c.id == bindparam("of_job")).returning(_JOBS.c.id, _JOBS.c.max_attempts)
    )

    def change(session: Session) -> list[Any]:
        Statement(update(_JOBS).values(max_attempts=7)).execute(session, {})
        rows = [{"of_job": job_id, "name": "new"} for job_id in (job_ids[2], uuid4(), *job_ids[:2])]
        return changed.each(session, rows)

    database.write(lambda session: changed.one_or_none(session, {"of_job": job_ids[0], "name": "old"}))
    third, unknown, first, second = database.write(change)
    assert [third.id, first.id, second.id] == [job_ids[2], *job_ids[:2]]
    assert {each.max_attempts for each in (first, second, third)} == {7}
    assert unknown is None


def test_rows_are_sent_together_and_none_sends_nothing(database: Database) -> None:
    paused, forget = Statement(insert(_PAUSED)), Statement(delete(_PAUSED))
    with recorded_statements(database) as statements:
        database.write(lambda session: paused.execute(session))
        database.write(lambda session: paused.execute(session, _row("a"), _row("b")))
    assert len([sql for sql, _ in statements if sql.startswith("INSERT")]) == 1
    assert database.read(lambda session: session.execute(select(_PAUSED.c.name)).scalars().all()) == [
        "a",
        "b",
    ]
    database.write(lambda session: forget.execute(session, {}))
    assert database.read(lambda session: session.execute(select(_PAUSED)).all()) == []


def test_a_value_that_is_computed_at_execution_is_not_kept(database: Database) -> None:
    clock = FrozenClock()
    present = Statement(select(clock(1.0).label("now")))
    for _ in range(2):
        read = database.read(lambda session: present.one_or_none(session, {}))
        assert read.now == clock.moment + timedelta(seconds=1)
        clock.advance(5.0)


def test_errors_of_the_driver_are_those_of_sqlalchemy(database: Database) -> None:
    paused = Statement(insert(_PAUSED))
    database.write(lambda session: paused.execute(session, _row("a")))
    with pytest.raises(IntegrityError):
        database.write(lambda session: paused.execute(session, _row("a")))


def _use(session: Session, statement: Statement) -> None:
    statement.execute(session, {})


@pytest.mark.parametrize("use", [_use, lambda session, statement: statement.one_or_none(session, {})])
def test_a_parameter_without_a_value_is_refused(
    database: Database, use: Callable[[Session, Statement], object]
) -> None:
    statement = Statement(select(_JOBS.c.id).where(_JOBS.c.id == bindparam("of_job")))
    with pytest.raises(AssertionError, match="of_job"):
        database.read(lambda session: use(session, statement))
