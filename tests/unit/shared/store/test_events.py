"""Events are read in order, each exactly once, also while other transactions write."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from shared import schemas
from shared.db.engine import Database
from shared.db.event_positions import SEQUENCE
from shared.db.tables import Job, JobEvent
from shared.errors import JobNotFound
from shared.lifecycle import JobState
from shared.store import events, job_edits
from shared.store.events import Cursor, Feed, Watermark, end
from shared.store.submit import submit_job
from tests.support.factories import make_new_job
from tests.support.queue_driver import cancelled, submit, succeeded

LIMIT = 1_000  # more than the events of any test


def _job_ids(rows: list[tuple[Cursor, schemas.JobEvent]]) -> list[UUID]:
    return [event.job_id for _, event in rows]


class _Reader:
    """Reads the feed from a place on; by default from the end of the events so far."""

    def __init__(self, database: Database, after: Cursor | None = None) -> None:
        start = after or end(database, Watermark())
        assert start is not None
        self._after, self._feed = start, Feed(database)

    @property
    def pending(self) -> bool:
        return self._feed.pending

    def read(self, limit: int = LIMIT) -> list[tuple[Cursor, schemas.JobEvent]]:
        page = self._feed.read(self._after, limit)
        self._after = page[-1][0] if page else self._after
        return page


@contextmanager
def _unfinished_submit(database: Database) -> Iterator[UUID]:
    """A job whose first event has been written, and is committed at the end of the block."""
    new = make_new_job()
    with Session(database.engine) as session:
        submit_job(session, new)
        session.execute(select(1))  # its event is sent with the next statement
        yield new.id
        session.commit()


def test_a_page_of_events_begins_after_the_given_event(database: Database) -> None:
    job_id, _ = succeeded(database)
    rows, *_ = database.read(lambda session: events.page(session, job_id, limit=LIMIT))

    assert [event.seq for event in rows] == [1, 2, 3, 4, 5, 6]
    for after in range(8):
        rest, *_ = database.read(partial(events.page, job_id=job_id, after=after, limit=2))
        assert rest == rows[after : after + 2]


def test_a_page_of_events_has_the_state_and_the_version_of_the_job(database: Database) -> None:
    job_id = cancelled(database)

    rows, state, version = database.read(lambda session: events.page(session, job_id, after=1, limit=LIMIT))

    assert ([event.type for event in rows], state) == (["cancelled"], JobState.CANCELLED)
    assert version == rows[-1].seq


def test_events_of_an_unknown_job_raise_job_not_found(database: Database) -> None:
    job_id = make_new_job().id
    with pytest.raises(JobNotFound):
        database.read(lambda session: events.page(session, job_id, limit=LIMIT))


@pytest.mark.parametrize("cursor", [Cursor(0), Cursor(7), Cursor(7, UUID(int=1), 3), Cursor(10**17)])
def test_a_cursor_is_parsed_from_its_text(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("malformed", ["", "-1", "x", "1-2-3", "1-", f"1-{UUID(int=1).hex}", "9" * 19, "1\n"])
def test_malformed_cursors_are_refused(malformed: str) -> None:
    with pytest.raises(ValueError, match="is not the id of an event"):
        Cursor.parse(malformed)


def test_a_cursor_without_an_event_sorts_after_all_events_of_its_position() -> None:
    assert Cursor(7, UUID(int=2**128 - 2), 2**31 - 1) < Cursor(7) < Cursor(8, UUID(int=0), 0)


def test_without_writers_every_position_is_settled() -> None:
    watermark = Watermark()
    watermark.advance(5, frozenset())
    assert (watermark.settled, watermark.pending) == (5, False)


def test_a_position_is_settled_when_all_its_concurrent_writers_have_ended() -> None:
    watermark, settled = Watermark(), []
    for seen, writers in [(5, "ab"), (6, "bc"), (9, "cd"), (9, "d"), (12, "e"), (12, "")]:
        watermark.advance(seen, frozenset(writers))
        settled.append(watermark.settled)
    assert settled == [None, None, 5, 5, 9, 12]


def test_a_reader_that_starts_at_the_end_reads_later_events_in_order(database: Database) -> None:
    submit(database)
    reader = _Reader(database)
    assert reader.read() == []

    made = [submit(database) for _ in range(5)]

    assert _job_ids(reader.read(3)) + _job_ids(reader.read(3)) == made
    assert reader.read(3) == []


def test_the_feed_is_read_after_any_event(database: Database) -> None:
    made = [submit(database) for _ in range(3)]
    rows = Feed(database).read(Cursor(0), LIMIT)

    assert _job_ids(rows) == made
    for number, (cursor, _) in enumerate(rows, start=1):
        assert _job_ids(Feed(database).read(cursor, LIMIT)) == made[number:]


def test_the_feed_withholds_events_until_earlier_transactions_have_ended(postgresql: Database) -> None:
    reader = _Reader(postgresql)
    with _unfinished_submit(postgresql) as first:
        second = submit(postgresql, queue="gpu")  # submissions to one queue wait for each other
        assert reader.read() == []
        assert reader.pending
    assert _job_ids(reader.read()) == [first, second]
    assert not reader.pending


def test_the_end_of_the_events_is_not_known_while_an_earlier_one_may_appear(postgresql: Database) -> None:
    watermark = Watermark()
    with _unfinished_submit(postgresql) as first:
        submit(postgresql, queue="gpu")
        assert end(postgresql, watermark) is None
    known = end(postgresql, watermark)
    assert known is not None
    # a list of jobs that is read now contains it
    assert first not in _job_ids(Feed(postgresql).read(known, LIMIT))


def test_readers_at_different_places_share_a_feed(database: Database) -> None:
    made = [submit(database) for _ in range(4)]
    feed = Feed(database)
    rows = feed.read(Cursor(0), LIMIT)
    places = [place for place, _ in rows]

    assert _job_ids(feed.read(places[2], LIMIT)) == made[3:]
    assert _job_ids(feed.read(places[0], 2)) == made[1:3]
    assert feed.read(places[3], LIMIT) == []


def test_a_rolled_back_event_does_not_block_the_feed(postgresql: Database) -> None:
    reader = _Reader(postgresql)
    with Session(postgresql.engine) as session:
        submit_job(session, make_new_job())
        session.execute(select(1))
        second = submit(postgresql, queue="gpu")
        assert reader.read() == []
        session.rollback()
    assert _job_ids(reader.read()) == [second]


def test_transactions_of_other_programs_do_not_block_the_feed(postgresql: Database) -> None:
    reader = _Reader(postgresql)
    with postgresql.engine.connect() as other:
        other.execute(text("CREATE TABLE something (id INT)"))
        made = submit(postgresql)
        assert _job_ids(reader.read()) == [made]
        other.rollback()


def test_each_event_is_read_once_while_several_threads_write(database: Database) -> None:
    reader = _Reader(database)
    read: list[schemas.JobEvent] = []

    def write_some(_: int) -> None:
        for _ in range(6):
            # two jobs in a transaction, as in a sweep: their positions are far apart
            pair = make_new_job(), make_new_job()
            database.write(lambda session, pair=pair: [submit_job(session, new) for new in pair])  # type: ignore[misc]
            for new in pair:
                database.write(lambda session, new=new: job_edits.request_cancel(session, new.id))  # type: ignore[misc]

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write_some, number) for number in range(4)]
        while not all(writer.done() for writer in writing):
            read += [event for _, event in reader.read(7)]
        read += [event for _, event in reader.read()]
    for writer in writing:
        writer.result()

    keys = [(event.job_id, event.seq) for event in read]
    stored = database.read(lambda session: session.execute(select(JobEvent.job_id, JobEvent.seq)).all())
    assert len(keys) == len(set(keys)) == len(stored) == 96
    first, last = ({job: at for at, (job, seq) in enumerate(keys) if seq == number} for number in (1, 2))
    assert all(first[job] < last[job] for job in first)


def test_a_stream_that_was_open_across_a_restore_misses_nothing_after_the_migration(
    postgresql: Database,
) -> None:
    submit(postgresql)
    restored_to = postgresql.read(lambda session: session.scalar(text(f"SELECT last_value FROM {SEQUENCE}")))
    later = [submit(postgresql) for _ in range(2)]
    reader = _Reader(postgresql, Cursor(0))
    assert len(reader.read()) == 3
    # as a backup from before the later jobs has it
    postgresql.write(lambda session: session.execute(delete(Job).where(Job.id.in_(later))))
    postgresql.write(lambda session: session.execute(text(f"SELECT setval('{SEQUENCE}', {restored_to})")))
    postgresql.migrate()
    after = [submit(postgresql) for _ in range(2)]
    assert _job_ids(reader.read()) == after
    postgresql.migrate()
    last = submit(postgresql)
    assert _job_ids(reader.read()) == [last]
