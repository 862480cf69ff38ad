"""API keys: their validity, expiry and revocation; their secrets are not stored."""

from math import inf

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared.db import tables
from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.errors import ApiKeyNotFound
from shared.schemas import ApiKey, Scope
from shared.store import api_keys
from shared.store.api_keys import NewApiKey
from tests.support.fakes import FrozenClock


def create_key(database: Database, *, lifetime_s: float | None = None, now: Now = database_now) -> NewApiKey:
    key = NewApiKey.draw()
    database.write(
        lambda session: api_keys.create(
            session, key, name="Ada", scope=Scope.SUBMIT, lifetime_s=lifetime_s, now=now
        )
    )
    return key


def is_valid(database: Database, key_text: str, now: Now = database_now) -> bool:
    key = api_keys.parse(key_text)
    return key is not None and database.read(lambda session: api_keys.find(session, key, now=now)) is not None


def all_keys(database: Database) -> list[ApiKey]:
    return [row for _, row in database.read(lambda session: api_keys.page(session, limit=100))]


def test_key_is_valid_and_has_its_scope(database: Database) -> None:
    key = create_key(database)
    assert is_valid(database, str(key))
    (row,) = all_keys(database)
    assert (row.id, row.name, row.scope) == (key.id, "Ada", "submit")


def test_key_with_another_secret_is_invalid(database: Database) -> None:
    key = create_key(database)
    assert not is_valid(database, str(NewApiKey(key.id, "0" * 64)))
    assert not is_valid(database, str(NewApiKey.draw()))


def test_secret_is_not_in_the_database_and_not_in_the_repr(database: Database) -> None:
    key = create_key(database)
    rows = database.read(lambda session: session.execute(text("SELECT * FROM api_keys")).all())
    assert key.secret not in f"{rows} {key!r}"


def test_storing_a_key_again_changes_nothing(database: Database) -> None:
    key = create_key(database)
    for _ in range(2):
        database.write(lambda session: api_keys.create(session, key, name="Eve", scope=Scope.ADMIN))
    assert [row.name for row in all_keys(database)] == ["Ada"]


def test_key_expires(database: Database) -> None:
    clock = FrozenClock()
    key = create_key(database, lifetime_s=60, now=clock)
    clock.advance(59)
    assert is_valid(database, str(key), clock)
    clock.advance(1)
    assert not is_valid(database, str(key), clock)


@pytest.mark.parametrize(("lifetime_s", "left_s"), [(60, 45), (None, inf)])
def test_seconds_that_a_key_has_left(database: Database, lifetime_s: float | None, left_s: float) -> None:
    clock = FrozenClock()
    key = create_key(database, lifetime_s=lifetime_s, now=clock)
    clock.advance(15)

    def read(session: Session) -> float:
        return api_keys.seconds_left(session, session.get_one(tables.ApiKey, key.id), now=clock)

    assert database.read(read) == pytest.approx(left_s, abs=0.001)


def test_revoked_key_is_invalid_and_keeps_the_time_of_its_revocation(database: Database) -> None:
    clock, key = FrozenClock(), create_key(database)
    for _ in range(2):
        database.write(lambda session: api_keys.revoke(session, key.id, now=clock))
        clock.advance(60)
    assert not is_valid(database, str(key))
    (row,) = all_keys(database)
    assert row.revoked_at == FrozenClock().moment


def test_unknown_key_cannot_be_revoked(database: Database) -> None:
    with pytest.raises(ApiKeyNotFound):
        database.write(lambda session: api_keys.revoke(session, uuid7()))


def test_any_exists_counts_expired_keys_but_no_revoked_keys(database: Database) -> None:
    assert not database.read(api_keys.any_exists)
    key = create_key(database, lifetime_s=-1)
    assert database.read(api_keys.any_exists)
    database.write(lambda session: api_keys.revoke(session, key.id))
    assert not database.read(api_keys.any_exists)


@pytest.mark.parametrize(
    "malformed", ["", "ts", "ts_", "ts_x_y", f"ts_{'0' * 32}", f"ts_{'0' * 32}_", "x_0_y"]
)
def test_malformed_key_is_not_parsed(malformed: str) -> None:
    assert api_keys.parse(malformed) is None


def test_key_is_parsed_from_its_text() -> None:
    key = NewApiKey.draw()
    assert api_keys.parse(str(key)) == key


def test_same_secret_compares_any_two_strings() -> None:
    assert api_keys.same_secret("a", "a")
    assert not api_keys.same_secret("a", "\udcff")
