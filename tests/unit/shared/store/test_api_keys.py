"""Keys open what they should, for as long as they should, and their secrets are nowhere."""

import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.errors import ApiKeyNotFound
from shared.schemas import Scope
from shared.store import api_keys
from shared.store.api_keys import NewApiKey
from tests.support.fakes import FrozenClock


def made(database: Database, *, lifetime_s: float | None = None, now: Now = database_now) -> NewApiKey:
    key = NewApiKey.draw()
    database.write(
        lambda session: api_keys.create(
            session, key, name="Ada", scope=Scope.SUBMIT, lifetime_s=lifetime_s, now=now
        )
    )
    return key


def opens(database: Database, text_of_key: str, now: Now = database_now) -> bool:
    key = api_keys.parse(text_of_key)
    return key is not None and database.read(lambda session: api_keys.find(session, key, now=now)) is not None


def test_a_key_opens_and_tells_its_scope(database: Database) -> None:
    key = made(database)
    assert opens(database, str(key))
    (stored,) = database.read(api_keys.every)
    assert (stored.id, stored.name, stored.scopes) == (key.id, "Ada", ["submit"])


def test_another_secret_opens_nothing(database: Database) -> None:
    key = made(database)
    assert not opens(database, str(NewApiKey(key.id, "0" * 64)))
    assert not opens(database, str(NewApiKey.draw()))


def test_the_secret_is_not_in_the_database_and_not_in_the_repr(database: Database) -> None:
    key = made(database)
    rows = database.read(lambda session: session.execute(text("SELECT * FROM api_keys")).all())
    assert key.secret not in f"{rows} {key!r}"


def test_storing_a_key_again_changes_nothing(database: Database) -> None:
    key = made(database)
    for _ in range(2):
        database.write(lambda session: api_keys.create(session, key, name="Eve", scope=Scope.ADMIN))
    assert [stored.name for stored in database.read(api_keys.every)] == ["Ada"]


def test_a_key_expires(database: Database) -> None:
    clock = FrozenClock()
    key = made(database, lifetime_s=60, now=clock)
    clock.advance(59)
    assert opens(database, str(key), clock)
    clock.advance(1)
    assert not opens(database, str(key), clock)


def test_a_revoked_key_opens_nothing_and_keeps_the_moment_of_its_end(database: Database) -> None:
    clock, key = FrozenClock(), made(database)
    for _ in range(2):
        database.write(lambda session: api_keys.revoke(session, key.id, now=clock))
        clock.advance(60)
    assert not opens(database, str(key))
    (stored,) = database.read(api_keys.every)
    assert stored.revoked_at == FrozenClock().moment


def test_an_unknown_key_cannot_be_revoked(database: Database) -> None:
    with pytest.raises(ApiKeyNotFound):
        database.write(lambda session: api_keys.revoke(session, uuid7()))


def test_keys_that_expired_still_close_the_door_and_revoked_ones_do_not(database: Database) -> None:
    assert not database.read(api_keys.any_exists)
    key = made(database, lifetime_s=-1)
    assert database.read(api_keys.any_exists)
    database.write(lambda session: api_keys.revoke(session, key.id))
    assert not database.read(api_keys.any_exists)


@pytest.mark.parametrize("shown", ["", "ts", "ts_", "ts_x_y", f"ts_{'0' * 32}", f"ts_{'0' * 32}_", "x_0_y"])
def test_what_is_no_key_is_not_taken_for_one(shown: str) -> None:
    assert api_keys.parse(shown) is None


def test_a_key_is_read_back_from_its_text() -> None:
    key = NewApiKey.draw()
    assert api_keys.parse(str(key)) == key


def test_two_secrets_are_the_same_or_not() -> None:
    assert api_keys.same_secret("a", "a")
    assert not api_keys.same_secret("a", "\udcff")
