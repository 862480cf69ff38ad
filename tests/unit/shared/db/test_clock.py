"""The database's clock, on both databases."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import ColumnElement, String, cast, literal, select, update

from shared.db.clock import database_now, seconds_between
from shared.db.engine import Database
from shared.db.tables import Job, UtcDateTime
from tests.support.factories import submitted


@pytest.fixture
def in_odd_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Moves this process, and what connects from it, to a place 12:45 or 13:45 hours east of UTC."""

    def move() -> None:
        monkeypatch.setenv("TZ", "Pacific/Chatham")
        monkeypatch.setenv("PGTZ", "Pacific/Chatham")  # libpq's name for it
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


def _stored_now(database: Database) -> datetime:
    """Have the database store its present moment, and read it back."""
    job_id = submitted(database)
    stamp = update(Job).where(Job.id == job_id).values(scheduled_at=database_now())
    database.write(lambda session: session.execute(stamp))
    return database.read(lambda session: session.get_one(Job, job_id).scheduled_at)


def _holds(database: Database, *conditions: ColumnElement[bool]) -> list[bool]:
    return database.read(lambda session: list(session.execute(select(*conditions)).one()))


def test_it_tells_the_time_in_utc(database: Database) -> None:
    told = _stored_now(database)
    assert told.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - told) < timedelta(seconds=10)


def test_the_time_zone_of_a_process_changes_nothing(
    database: Database, in_odd_time_zone: Callable[[], None]
) -> None:
    before = _stored_now(database)
    database.dispose()
    in_odd_time_zone()
    after = _stored_now(database)
    assert timedelta(0) <= after - before < timedelta(seconds=10)
    assert _holds(
        database,
        literal(before, UtcDateTime()) < database_now(),
        database_now(-10) < literal(before, UtcDateTime()),
    ) == [True, True]


def test_an_offset_looks_ahead_or_back(database: Database) -> None:
    assert (
        _holds(
            database,
            database_now(30) > database_now(29),
            database_now(-30) < database_now(-29),
            database_now(0.5) > database_now(0.1),
            database_now(7 * 86_400) > database_now(6 * 86_400),
            database_now(-0.5) < database_now(),
        )
        == [True] * 5
    )


def test_it_compares_rightly_with_moments_that_were_stored(database: Database) -> None:
    told = _stored_now(database)
    moments = {
        told - timedelta(microseconds=1): True,
        told - timedelta(days=400): True,
        told.replace(microsecond=0): True,
        (told - timedelta(seconds=1)).astimezone(timezone(timedelta(hours=-11))): True,
        told + timedelta(hours=1): False,
        (told + timedelta(hours=1)).replace(microsecond=0): False,
        (told + timedelta(hours=1)).astimezone(timezone(timedelta(hours=14))): False,
    }
    past = _holds(database, *(literal(moment, UtcDateTime()) <= database_now() for moment in moments))
    assert dict(zip(moments, past, strict=True)) == moments


def test_sqlites_text_is_the_one_that_sqlalchemy_stores(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    stored = literal(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), UtcDateTime())
    row = database.read(
        lambda session: session.execute(select(cast(database_now(), String), cast(stored, String))).one()
    )
    database.dispose()
    assert [(len(text), text[10], text[19], text[26:]) for text in row] == [(26, " ", ".", "")] * 2


def test_it_goes_on_during_a_transaction(database: Database) -> None:
    # a transaction may wait for a lock, and a lease must not start in the past because of it
    with database.engine.connect() as connection:
        first = connection.scalar(select(database_now()))
        assert first is not None
        tries = (
            connection.scalar(select(database_now() > literal(first, UtcDateTime()))) for _ in range(10_000)
        )
        assert any(tries)


@pytest.mark.parametrize("seconds", [0.0, 0.25, 86_400.5, -3.0])
def test_the_seconds_between_two_moments_are_told(database: Database, seconds: float) -> None:
    start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    moments = [literal(start + timedelta(seconds=ahead), UtcDateTime()) for ahead in (0, seconds)]
    told = database.read(lambda session: session.scalar(select(seconds_between(*moments))))
    assert told is not None
    assert float(told) == pytest.approx(seconds, abs=0.001)
