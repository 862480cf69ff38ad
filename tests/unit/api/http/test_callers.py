"""Callers are remembered for a second at most, and forgotten when their keys change through this process."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError

from api.http import callers as module
from api.http.callers import LOCAL_CALLER, Callers, as_cookie
from shared.db.engine import Database
from shared.schemas import Scope
from shared.settings import Settings
from tests.support import registry
from tests.support.databases import open_database
from tests.support.fakes import MonotonicClock
from tests.support.registry import NewApiKey
from tests.support.statements import recorded_statements
from tests.support.waiting import wait_until

HERE, ELSEWHERE = "127.0.0.1", "192.0.2.1"
SECRET = "a secret of the owner's"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> MonotonicClock:
    clock = MonotonicClock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    with open_database(sqlite_url) as database:
        yield database


@pytest.fixture
def callers(database: Database, settings: Settings) -> Callers:
    return Callers(database, settings)


def create(database: Database, scope: Scope = Scope.READ, lifetime_s: float | None = None) -> NewApiKey:
    return registry.api_key(database, "Ada", scope, lifetime_s=lifetime_s)


def revoke(database: Database, key: NewApiKey) -> None:
    """Revoke a key as another process does."""
    registry.revoke(database, key.id)


def sent(key: object = "", address: str = ELSEWHERE) -> dict[str, Any]:
    """The ASGI scope of a request."""
    headers = [(b"host", b"localhost"), *([(b"authorization", f"Bearer {key}".encode())] if key else [])]
    return {"method": "GET", "headers": headers, "client": (address, 1234)}


def identify(callers: Callers, request: dict[str, Any]) -> UUID | str | None:
    """The id of the key by which the caller is known; its name if it has none; None if it is refused."""
    caller = asyncio.run(callers.identify(request))
    return None if caller is None else caller.key_id or caller.name


def test_a_caller_is_read_once_a_second(callers: Callers, database: Database, clock: MonotonicClock) -> None:
    key = create(database)
    with recorded_statements(database) as statements:
        for _ in range(3):
            assert identify(callers, sent(key)) == key.id
        first = len(statements)
        clock.advance(1)
        assert identify(callers, sent(key)) == key.id

    assert len(statements) == 2 * first


def test_a_key_revoked_through_another_process_is_accepted_for_less_than_a_second(
    callers: Callers, database: Database, clock: MonotonicClock
) -> None:
    key = create(database)
    identify(callers, sent(key))
    revoke(database, key)

    clock.advance(0.99)
    assert identify(callers, sent(key)) == key.id
    clock.advance(0.01)
    assert identify(callers, sent(key)) is None


def test_a_key_that_expires_is_not_remembered_longer(
    callers: Callers, database: Database, clock: MonotonicClock
) -> None:
    key = create(database, lifetime_s=0.9)  # less than is remembered
    assert identify(callers, sent(key)) == key.id
    wait_until(lambda: not registry.is_valid(database, key), "it has expired")

    clock.advance(0.9)

    assert identify(callers, sent(key)) is None


def test_forgotten_callers_are_read_again(callers: Callers, database: Database) -> None:
    key = create(database)
    identify(callers, sent(key))
    revoke(database, key)

    callers.forget()

    assert identify(callers, sent(key)) is None


def test_a_caller_that_was_read_before_the_keys_changed_is_not_remembered(
    callers: Callers, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, authenticate = create(database), callers._authenticate

    async def work() -> None:
        loop = asyncio.get_running_loop()

        def change_keys(*arguments: Any) -> Any:
            found = authenticate(*arguments)
            revoke(database, key)
            loop.call_soon_threadsafe(callers.forget)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(callers, "_authenticate", change_keys)
            await callers.identify(sent(key))

    asyncio.run(work())
    assert identify(callers, sent(key)) is None


def test_wrong_keys_are_not_remembered(callers: Callers, database: Database) -> None:
    key = NewApiKey.draw()
    create(database)
    assert identify(callers, sent(key)) is None

    registry.api_key(database, key=key)

    assert identify(callers, sent(key)) == key.id


def test_requests_at_the_same_time_share_a_read(callers: Callers, database: Database) -> None:
    key = create(database)

    async def work() -> list[Any]:
        return await asyncio.gather(*(callers.identify(sent(key)) for _ in range(20)))

    with recorded_statements(database) as statements:
        found = asyncio.run(work())

    assert {caller.key_id for caller in found} == {key.id}
    assert len([statement for statement in statements if statement.sql.startswith("SELECT")]) == 1


def test_cancelled_request_does_not_cancel_the_read_of_another(callers: Callers, database: Database) -> None:
    key = create(database)

    async def work() -> Any:
        cancelled, other = (asyncio.create_task(callers.identify(sent(key))) for _ in range(2))
        asyncio.get_running_loop().call_soon(cancelled.cancel)
        return await other

    assert asyncio.run(work()).key_id == key.id


def test_an_outage_of_the_database_is_not_remembered(callers: Callers, database: Database) -> None:
    key = create(database)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE api_keys RENAME TO gone")
    with pytest.raises(SQLAlchemyError):
        identify(callers, sent(key))
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO api_keys")

    assert identify(callers, sent(key)) == key.id


def test_without_any_key_only_this_host_is_admitted(callers: Callers) -> None:
    for key in ("", "left over from elsewhere"):
        assert identify(callers, sent(key, HERE)) == LOCAL_CALLER.name
        assert identify(callers, sent(key, ELSEWHERE)) is None


def test_the_first_key_created_through_another_process_is_needed_within_a_second(
    callers: Callers, database: Database, clock: MonotonicClock
) -> None:
    identify(callers, sent(address=HERE))
    key = create(database)

    clock.advance(1)

    assert identify(callers, sent(address=HERE)) is None
    assert identify(callers, sent(key)) == key.id


def test_a_key_of_the_settings_costs_no_read(database: Database, settings: Settings) -> None:
    callers = Callers(database, settings.model_copy(update={"api_keys": (SecretStr(SECRET),)}))
    with recorded_statements(database) as statements:
        assert identify(callers, sent(SECRET)) == "a key of API_KEYS"
        assert identify(callers, sent("another secret, long enough")) is None
        assert identify(callers, sent()) is None

    assert statements == []


def test_the_number_of_remembered_callers_is_bounded(
    callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_CALLERS", 3)
    for number in range(10):
        assert identify(callers, sent(f"unknown {number}", HERE)) == LOCAL_CALLER.name
        assert len(callers._known) <= 3


@pytest.mark.parametrize(
    ("header", "text"),
    [("Bearer x", b"x"), ("bearer  x ", b"x"), ("Basic x", b""), ("Bearer", b""), ("", b""), ("x", b"")],
)
def test_the_key_is_what_follows_bearer(header: str, text: bytes) -> None:
    assert module.sent_key({"headers": [(b"authorization", header.encode())]}) == text


def test_changes_of_keys_through_the_api_hold_at_once(client: httpx.Client) -> None:
    """The clock stands still: what is remembered stays so unless it is forgotten."""
    assert client.get("/v1/me").status_code == 200

    admin = client.post("/v1/api-keys", json={"name": "Ada", "scope": "admin"}).json()
    headers = {"Authorization": f"Bearer {admin['key']}"}
    assert client.get("/v1/me").status_code == 401
    reader = client.post("/v1/api-keys", json={"name": "Bob"}, headers=headers).json()
    as_reader = {"Authorization": f"Bearer {reader['key']}"}
    assert client.get("/v1/me", headers=as_reader).json()["key_id"] == reader["id"]

    assert client.delete(f"/v1/api-keys/{reader['id']}", headers=headers).status_code == 204
    assert client.get("/v1/me", headers=as_reader).status_code == 401
    assert client.delete(f"/v1/api-keys/{admin['id']}", headers=headers).status_code == 204
    assert client.get("/v1/me").status_code == 200


@pytest.mark.parametrize(
    ("method", "headers", "is_known"),
    [
        ("GET", {}, True),
        ("POST", {}, False),  # nothing says which page sent it
        ("POST", {"sec-fetch-site": "same-origin"}, True),
        ("POST", {"sec-fetch-site": "same-site"}, False),  # another port of this host
        ("POST", {"sec-fetch-site": "none"}, False),
        ("POST", {"origin": "http://localhost"}, True),
        ("DELETE", {"origin": "http://localhost:1"}, False),
        ("GET", {"authorization": "Bearer wrong"}, False),  # what is sent on purpose takes precedence
    ],
    ids=str,
)
def test_a_cookie_identifies_its_sender_but_changes_nothing_for_other_pages(
    callers: Callers, database: Database, method: str, headers: dict[str, str], is_known: bool
) -> None:
    key = create(database)
    cookie = f"other=1; trainshed_key={as_cookie(str(key).encode())}"
    sent_headers = {"host": "localhost", "cookie": cookie, **headers}
    request = {
        "method": method,
        "headers": [(name.encode(), value.encode()) for name, value in sent_headers.items()],
        "client": (ELSEWHERE, 1234),
    }

    assert identify(callers, request) == (key.id if is_known else None)


def test_a_cookie_that_is_damaged_is_no_key(callers: Callers, database: Database) -> None:
    create(database)
    headers = [(b"host", b"localhost"), (b"cookie", b"trainshed_key=%%%x")]

    assert identify(callers, {"method": "GET", "headers": headers, "client": (ELSEWHERE, 1234)}) is None
