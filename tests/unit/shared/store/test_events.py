"""Events are read in order, each once, also while others are being written."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import JobEvent
from shared.errors import JobNotFound
from shared.lifecycle import JobState
from shared.schemas import JobEvent as Told
from shared.store import events, job_edits
from shared.store.events import Cursor, Horizon, Tail
from shared.store.submit import submit_job
from tests.support.factories import cancelled, make_new_job, submitted, succeeded

MANY = 1_000


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Database]:
    database = Database(postgresql_url)
    yield database
    database.dispose()


def _ids(found: list[tuple[Cursor, Told]]) -> list[UUID]:
    return [event.job_id for _, event in found]


def _has_begun(tail: Tail) -> bool:
    return tail.cursor is not None


@contextmanager
def _unfinished_submit(database: Database) -> Iterator[UUID]:
    """A job whose first event is written, and committed at the end of the block."""
    new = make_new_job()
    with Session(database.engine) as session:
        submit_job(session, new)
        yield new.id
        session.commit()


def test_a_jobs_events_are_read_after_any_of_them(database: Database) -> None:
    job_id, _ = succeeded(database)
    every = database.read(lambda session: events.page(session, job_id, limit=MANY))

    assert [event.seq for event in every] == [1, 2, 3, 4, 5, 6]
    for after in range(8):
        rest = database.read(
            lambda session, after=after: events.page(session, job_id, after=after, limit=2)  # type: ignore[misc]
        )
        assert rest == every[after : after + 2]


def test_news_come_with_the_state_that_the_job_is_in(database: Database) -> None:
    job_id = cancelled(database)

    found, state = database.read(lambda session: events.page_and_state(session, job_id, after=1, limit=MANY))

    assert ([event.type for event in found], state) == (["cancelled"], JobState.CANCELLED)


def test_a_job_that_is_not_there_has_no_events(database: Database) -> None:
    job_id = make_new_job().id
    with pytest.raises(JobNotFound):
        database.read(lambda session: events.page(session, job_id, limit=MANY))


@pytest.mark.parametrize("cursor", [Cursor(0), Cursor(7), Cursor(7, UUID(int=1), 3), Cursor(10**17)])
def test_a_cursor_is_what_was_written_of_it(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("written", ["", "-1", "x", "1-2-3", "1-", f"1-{UUID(int=1).hex}", "9" * 19, "1\n"])
def test_what_is_no_cursor_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is not the id of an event"):
        Cursor.parse(written)


def test_a_place_behind_a_position_is_behind_all_of_its_events() -> None:
    assert Cursor(7, UUID(int=2**128 - 2), 2**31 - 1) < Cursor(7) < Cursor(8, UUID(int=0), 0)


def test_where_nobody_writes_all_that_is_seen_is_settled() -> None:
    horizon = Horizon()
    horizon.advance(5, frozenset())
    assert (horizon.settled, horizon.pending) == (5, False)


def test_what_is_seen_is_settled_when_all_have_ended_who_wrote_then() -> None:
    horizon, settled = Horizon(), []
    for seen, writers in [(5, "ab"), (6, "bc"), (9, "cd"), (9, "d"), (12, "e"), (12, "")]:
        horizon.advance(seen, frozenset(writers))
        settled.append(horizon.settled)
    assert settled == [None, None, 5, 5, 9, 12]


def test_a_tail_begins_at_the_end_and_gives_what_comes_after_in_order(database: Database) -> None:
    submitted(database)
    tail = Tail(database)
    assert tail.read(MANY) == []

    made = [submitted(database) for _ in range(5)]

    assert _ids(tail.read(3)) + _ids(tail.read(3)) == made
    assert tail.read(3) == []


def test_a_tail_goes_on_after_any_event(database: Database) -> None:
    made = [submitted(database) for _ in range(3)]
    every = Tail(database, Cursor(0)).read(MANY)

    assert _ids(every) == made
    for number, (cursor, _) in enumerate(every, start=1):
        assert _ids(Tail(database, cursor).read(MANY)) == made[number:]


def test_a_tail_gives_no_event_before_one_that_was_written_earlier(postgresql: Database) -> None:
    tail = Tail(postgresql)
    tail.read(MANY)
    with _unfinished_submit(postgresql) as first:
        second = submitted(postgresql)
        assert tail.read(MANY) == []
        assert tail.pending
    assert _ids(tail.read(MANY)) == [first, second]
    assert not tail.pending


def test_a_tail_does_not_begin_behind_an_event_that_is_to_come(postgresql: Database) -> None:
    tail = Tail(postgresql)
    with _unfinished_submit(postgresql) as first:
        submitted(postgresql)
        tail.read(MANY)
        assert not _has_begun(tail)
    tail.read(MANY)
    assert _has_begun(tail)
    assert first not in _ids(tail.read(MANY))  # who lists jobs now finds it


def test_an_event_that_was_taken_back_holds_nothing_up(postgresql: Database) -> None:
    tail = Tail(postgresql)
    tail.read(MANY)
    with Session(postgresql.engine) as session:
        submit_job(session, make_new_job())
        second = submitted(postgresql)
        assert tail.read(MANY) == []
        session.rollback()
    assert _ids(tail.read(MANY)) == [second]


def test_other_programs_transactions_hold_nothing_up(postgresql: Database) -> None:
    tail = Tail(postgresql)
    tail.read(MANY)
    with postgresql.engine.connect() as other:
        other.execute(text("CREATE TABLE something (id INT)"))
        made = submitted(postgresql)
        assert _ids(tail.read(MANY)) == [made]
        other.rollback()


def test_each_event_is_read_once_while_many_write(database: Database) -> None:
    tail = Tail(database)
    tail.read(MANY)
    told: list[Told] = []

    def write_some(_: int) -> None:
        for _ in range(6):
            # two jobs in a transaction, as in a sweep: their positions are far apart
            pair = make_new_job(), make_new_job()
            database.write(lambda session, pair=pair: [submit_job(session, new) for new in pair])  # type: ignore[misc]
            for new in pair:
                database.write(lambda session, new=new: job_edits.request_cancel(session, new.id))  # type: ignore[misc]

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write_some, number) for number in range(4)]
        while not all(one.done() for one in writing):
            told += [event for _, event in tail.read(7)]
        told += [event for _, event in tail.read(MANY)]
    for one in writing:
        one.result()

    keys = [(event.job_id, event.seq) for event in told]
    stored = database.read(lambda session: session.execute(select(JobEvent.job_id, JobEvent.seq)).all())
    assert len(keys) == len(set(keys)) == len(stored) == 96
    first, last = ({job: at for at, (job, seq) in enumerate(keys) if seq == number} for number in (1, 2))
    assert all(first[job] < last[job] for job in first)
