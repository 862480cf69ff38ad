"""A stream that is open ends soon after its key was revoked or has expired; others stay open."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest

from shared.db.engine import Database
from shared.schemas import Scope
from tests.support import queue_driver, registry
from tests.support.registry import NewApiKey
from tests.support.streams import open_stream
from tests.support.waiting import wait_until

END_S = 10.0  # on a busy machine; two seconds on a quiet one


def store(database: Database, lifetime_s: float | None = None) -> NewApiKey:
    return registry.api_key(database, "Ada", Scope.ADMIN, lifetime_s=lifetime_s)


def revoke(database: Database, key: NewApiKey) -> None:
    registry.revoke(database, key.id)


def end_of_stream(client: httpx.Client, path: str, end: Callable[[], object]) -> None:
    """Open a stream, call `end`, and read the stream to its end."""
    with open_stream(client, path) as stream, ThreadPoolExecutor(1) as threads:
        reading = threads.submit(list, stream)
        end()
        reading.result(END_S)


@pytest.fixture(autouse=True)
def _without_key(client: httpx.Client) -> Iterator[None]:
    yield
    client.headers.pop("Authorization", None)


@pytest.fixture
def path(database: Database) -> str:
    return f"/v1/jobs/{queue_driver.submit(database)}/stream"


def test_a_stream_ends_when_its_key_is_revoked_by_any_process(
    client: httpx.Client, database: Database, path: str
) -> None:
    store(database)  # without another key, the API would be open to this host again
    for stream in (path, "/v1/stream"):
        key = store(database)
        client.headers["Authorization"] = f"Bearer {key}"
        end_of_stream(client, stream, partial(revoke, database, key))
    assert client.get("/v1/me").status_code == 401


def test_a_stream_ends_when_its_key_expires(client: httpx.Client, database: Database, path: str) -> None:
    client.headers["Authorization"] = f"Bearer {store(database, lifetime_s=2.0)}"
    end_of_stream(client, path, lambda: None)


def test_a_stream_without_a_key_ends_when_the_first_key_is_created(
    client: httpx.Client, database: Database, path: str
) -> None:
    end_of_stream(client, path, lambda: store(database))


def test_a_stream_with_another_key_stays_open(client: httpx.Client, database: Database, path: str) -> None:
    revoked, kept = store(database), store(database)
    client.headers["Authorization"] = f"Bearer {kept}"
    with open_stream(client, path) as stream:
        assert next(stream).event == "submitted"
        client.headers["Authorization"] = f"Bearer {revoked}"
        end_of_stream(client, path, partial(revoke, database, revoked))
        queue_driver.claim_next(database)
        assert next(stream).event == "claimed"


def test_a_key_has_a_limited_number_of_open_streams_and_others_have_theirs(
    client: httpx.Client, database: Database, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.open_streams.MAX_OF_CLIENT", 2)
    one, other = ({"Authorization": f"Bearer {store(database)}"} for _ in range(2))

    def status(key: dict[str, str], stream: str) -> int:
        with client.stream("GET", stream, headers=key) as response:
            return response.status_code

    with client.stream("GET", path, headers=one), client.stream("GET", "/v1/stream", headers=one):
        refused = client.get("/v1/stream", headers=one)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")
        assert "has 2 open streams: close some" in refused.json()["detail"]
        assert status(other, "/v1/stream") == 200
    wait_until(lambda: status(one, path) == 200, "there is room again")
    assert status(one, "/v1/jobs") == 200


def test_programs_of_this_host_have_any_number_of_streams_while_there_is_no_key(
    client: httpx.Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.open_streams.MAX_OF_CLIENT", 1)
    with open_stream(client, path), open_stream(client, path) as second:
        assert next(second).event == "submitted"
