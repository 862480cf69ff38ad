"""The database's clock, on both databases."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import ColumnElement, String, cast, literal, select

from shared.db.clock import database_now, minute_of, seconds_between
from shared.db.engine import Database
from shared.db.tables import Job, UtcDateTime
from tests.support.databases import open_database
from tests.support.queue_driver import submit
from tests.support.stored import set_columns


@pytest.fixture
def set_odd_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Sets the time zone of this process and its new connections to 12:45 or 13:45 hours east of UTC."""

    def move() -> None:
        monkeypatch.setenv("TZ", "Pacific/Chatham")
        monkeypatch.setenv("PGTZ", "Pacific/Chatham")  # libpq's name for it
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


def _stored_now(database: Database) -> datetime:
    """Store the time of the database's clock in a job, and read it back."""
    job_id = submit(database)
    set_columns(database, job_id, scheduled_at=database_now())
    return database.read(lambda session: session.get_one(Job, job_id).scheduled_at)


def _evaluate(database: Database, *conditions: ColumnElement[bool]) -> list[bool]:
    return database.read(lambda session: list(session.execute(select(*conditions)).one()))


def test_the_clock_returns_the_time_in_utc(database: Database) -> None:
    now = _stored_now(database)
    assert now.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - now) < timedelta(seconds=10)


def test_the_clock_does_not_depend_on_the_time_zone_of_the_process(
    database: Database, set_odd_time_zone: Callable[[], None]
) -> None:
    before = _stored_now(database)
    database.dispose()
    set_odd_time_zone()
    after = _stored_now(database)
    assert timedelta(0) <= after - before < timedelta(seconds=10)
    assert _evaluate(
        database,
        literal(before, UtcDateTime()) < database_now(),
        database_now(-10) < literal(before, UtcDateTime()),
    ) == [True, True]


def test_an_offset_in_seconds_is_added_to_the_time(database: Database) -> None:
    assert (
        _evaluate(
            database,
            database_now(30) > database_now(29),
            database_now(-30) < database_now(-29),
            database_now(0.5) > database_now(0.1),
            database_now(7 * 86_400) > database_now(6 * 86_400),
            database_now(-0.5) < database_now(),
        )
        == [True] * 5
    )


def test_stored_times_compare_correctly_with_the_clock(database: Database) -> None:
    now = _stored_now(database)
    moments = {
        now - timedelta(microseconds=1): True,
        now - timedelta(days=400): True,
        now.replace(microsecond=0): True,
        (now - timedelta(seconds=1)).astimezone(timezone(timedelta(hours=-11))): True,
        now + timedelta(hours=1): False,
        (now + timedelta(hours=1)).replace(microsecond=0): False,
        (now + timedelta(hours=1)).astimezone(timezone(timedelta(hours=14))): False,
    }
    past = _evaluate(database, *(literal(moment, UtcDateTime()) <= database_now() for moment in moments))
    assert dict(zip(moments, past, strict=True)) == moments


def test_sqlites_clock_has_the_text_format_that_sqlalchemy_stores(sqlite_url: str) -> None:
    stored = literal(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), UtcDateTime())
    texts = select(cast(database_now(), String), cast(stored, String))
    with open_database(sqlite_url) as database:
        row = database.read(lambda session: session.execute(texts).one())
    assert [(len(text), text[10], text[19], text[26:]) for text in row] == [(26, " ", ".", "")] * 2


def test_the_clock_advances_during_a_transaction(database: Database) -> None:
    # a transaction may wait for a lock, and a lease must not start in the past because of it
    with database.engine.connect() as connection:
        first = connection.scalar(select(database_now()))
        assert first is not None
        later = select(database_now() > literal(first, UtcDateTime()))
        assert any(connection.scalar(later) for _ in range(10_000))


@pytest.mark.parametrize("seconds", [0.0, 0.25, 86_400.5, -3.0])
def test_seconds_between_returns_the_difference_of_two_times(database: Database, seconds: float) -> None:
    start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    moments = [literal(start + timedelta(seconds=ahead), UtcDateTime()) for ahead in (0, seconds)]
    difference = database.read(lambda session: session.scalar(select(seconds_between(*moments))))
    assert difference is not None
    assert float(difference) == pytest.approx(seconds, abs=0.001)


@pytest.mark.parametrize(
    ("moment", "minute"),
    [
        (datetime(2026, 1, 2, 3, 4, 0, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        (datetime(2026, 1, 2, 3, 4, 59, 999_999, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        (datetime(1999, 12, 31, 23, 59, 30, tzinfo=UTC), datetime(1999, 12, 31, 23, 59, tzinfo=UTC)),
    ],
)
def test_a_minute_begins_where_its_seconds_are_zero(
    database: Database, moment: datetime, minute: datetime, set_odd_time_zone: Callable[[], None]
) -> None:
    job_id = submit(database)
    set_columns(database, job_id, scheduled_at=moment)
    set_odd_time_zone()
    with open_database(database.engine.url.render_as_string(hide_password=False)) as elsewhere:
        assert elsewhere.read(lambda session: session.scalar(select(minute_of(Job.scheduled_at)))) == minute
