"""Authorization with every kind of API key, and with none."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event, Semaphore
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from api.app import create_app
from api.http.auth import OPEN
from shared.db.engine import Database
from shared.schemas import Scope
from shared.settings import Settings
from tests.support import queue_driver, registry
from tests.support.registry import NewApiKey
from tests.support.servers import running_app
from tests.support.stored import set_columns

BOOTSTRAP_KEY = "a secret of the owner's"
OPEN_OPERATIONS = {"GET /livez", "GET /readyz", "GET /version", "GET /problems/{slug}"}
OPEN_PATHS = (
    "/livez",
    "/version",
    "/docs",
    "/docs/style.css",
    "/openapi.json",
    "/problems/unauthenticated",
    "/sign-in",
)
RIGHTS_OF_ADMIN = {"team": None, "may_urgent": True}
NO_RIGHTS = {"team": None, "may_urgent": False}
THREADS = 40  # that AnyIO has for routes that are not coroutines

Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve(settings: Settings, database_url: str) -> Iterator[Serve]:
    """Serves the API with settings of the test's, and returns a client that sends the given key."""
    with ExitStack() as servers:

        def serve(key: object = "", **values: Any) -> httpx.Client:
            own = Settings.model_validate({**settings.model_dump(), "database_url": database_url, **values})
            client = servers.enter_context(running_app(create_app(own)))
            client.headers.update(bearer(key) if key else {})
            return client

        yield serve


def create_key(database: Database, scope: Scope, lifetime_s: float | None = None) -> NewApiKey:
    return registry.api_key(database, f"a {scope} key", scope, lifetime_s=lifetime_s)


def bearer(key: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_every_operation_declares_one_scope_or_that_it_is_open(settings: Settings) -> None:
    document = create_app(settings).openapi()
    scopes = {
        f"{method.upper()} {path}": operation.get("x-scope")
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }

    assert {name for name, scope in scopes.items() if scope is None} == OPEN_OPERATIONS
    assert all(name.startswith("GET ") for name, scope in scopes.items() if scope == Scope.READ)


def test_operation_that_declares_no_scope_is_refused_to_everyone(
    settings: Settings, database_url: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    app: FastAPI = create_app(settings.model_copy(update={"database_url": database_url}))
    app.add_api_route("/v1/forgotten", lambda: "secrets")
    with running_app(app) as client:
        answer = client.get("/v1/forgotten", headers=bearer(create_key(database, Scope.ADMIN)))

    assert answer.status_code == 500
    assert "secrets" not in answer.text
    assert "/v1/forgotten declares no scope" in caplog.text


def test_liveness_is_reported_while_every_thread_is_busy(settings: Settings) -> None:
    app, busy, release = create_app(settings), Semaphore(0), Event()

    def block() -> None:
        busy.release()
        release.wait()

    app.add_api_route("/block", block, dependencies=[OPEN])
    with running_app(app) as client, ThreadPoolExecutor(THREADS) as threads:
        url = client.base_url.join("/block")
        blocked = [threads.submit(httpx.get, url, timeout=30) for _ in range(THREADS)]
        try:
            assert all(busy.acquire(timeout=10) for _ in range(THREADS))
            assert client.get("/livez", timeout=5).status_code == 200
        finally:
            release.set()
        assert {answer.result().status_code for answer in blocked} == {200}


def test_without_any_key_this_host_may_do_everything(client: httpx.Client) -> None:
    assert client.get("/v1/jobs").status_code == 200
    assert client.get("/v1/api-keys").status_code == 200
    assert client.get("/v1/me").json()["scope"] == "admin"


def test_without_any_key_an_unknown_key_does_no_harm(client: httpx.Client) -> None:
    assert client.get("/v1/jobs", headers=bearer("left over from elsewhere")).status_code == 200


def test_without_any_key_another_host_may_do_nothing(settings: Settings, database_url: str) -> None:
    app = create_app(settings.model_copy(update={"database_url": database_url}))

    async def from_elsewhere(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["client"] = ("192.0.2.1", 1234)
        await app(scope, receive, send)

    with running_app(from_elsewhere) as client:  # type: ignore[arg-type]  # any ASGI app will do
        assert client.get("/v1/jobs").status_code == 401
        assert client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    "key", ["", "another secret, long enough", NewApiKey.draw()], ids=["none", "text", "key"]
)
def test_with_a_key_in_the_settings_every_other_is_refused(serve: Serve, key: object) -> None:
    client = serve(key, api_keys=BOOTSTRAP_KEY)

    answer = client.get("/v1/jobs")

    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="trainshed"')
    assert ('error="invalid_token"' in answer.headers["WWW-Authenticate"]) == bool(key)


def test_health_and_documentation_are_open(serve: Serve) -> None:
    client = serve(api_keys=BOOTSTRAP_KEY)

    assert {path: client.get(path).status_code for path in OPEN_PATHS} == dict.fromkeys(OPEN_PATHS, 200)
    assert client.get("/readyz").status_code in (200, 503)


def test_each_key_of_the_settings_may_do_everything(serve: Serve) -> None:
    client = serve(api_keys=f"{BOOTSTRAP_KEY},another secret that is long enough")

    for key in (BOOTSTRAP_KEY, "another secret that is long enough"):
        me = client.get("/v1/me", headers=bearer(key)).json()
        assert me == {
            "key_id": None,
            "name": "a key of API_KEYS",
            "scope": "admin",
            "expires_at": None,
            **RIGHTS_OF_ADMIN,
        }


def test_once_a_key_exists_every_request_needs_one(serve: Serve, database: Database) -> None:
    key, client = create_key(database, Scope.ADMIN), serve()

    assert client.get("/v1/jobs").status_code == 401
    assert client.get("/v1/jobs", headers=bearer(key)).status_code == 200


def test_key_may_do_what_its_scope_includes_and_no_more(client: httpx.Client, database: Database) -> None:
    keys = {scope: create_key(database, scope) for scope in Scope}
    job_id = set_columns(database, queue_driver.submit(database), api_key_id=keys[Scope.SUBMIT].id)
    needed = {
        ("GET", "/v1/jobs"): Scope.READ,
        ("POST", f"/v1/jobs/{job_id}/cancel"): Scope.SUBMIT,
        ("GET", "/v1/api-keys"): Scope.ADMIN,
    }

    for (method, path), least in needed.items():
        for scope, key in keys.items():
            answer = client.request(method, path, headers=bearer(key))
            assert answer.status_code == (200 if scope.includes(least) else 403), (path, scope)
            if answer.status_code == 403:
                assert answer.json()["type"] == "/problems/forbidden"
                assert f'scope="{least}"' in answer.headers["WWW-Authenticate"]


def test_expired_or_revoked_key_is_refused(client: httpx.Client, database: Database) -> None:
    expired, revoked = create_key(database, Scope.ADMIN, lifetime_s=-1), create_key(database, Scope.ADMIN)
    registry.revoke(database, revoked.id)

    assert client.get("/v1/jobs", headers=bearer(expired)).status_code == 401
    assert client.get("/v1/jobs", headers=bearer(revoked)).status_code == 401


def test_refused_submit_stores_nothing(serve: Serve, database: Database) -> None:
    client = serve(create_key(database, Scope.READ), api_keys=BOOTSTRAP_KEY)

    assert client.post("/v1/jobs", json={"kind": "train"}).status_code == 403
    assert client.get("/v1/jobs").json()["data"] == []


def test_client_over_its_rate_limit_is_refused_with_the_time_to_wait(
    serve: Serve, database: Database
) -> None:
    key, other = create_key(database, Scope.READ), create_key(database, Scope.READ)
    client = serve(key, rate_limit=0.2)

    answers = [client.get("/v1/me") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["type"] == "/problems/too-many-requests"
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 5
    assert client.get("/v1/me", headers=bearer(other)).status_code == 200
    assert client.get("/livez").status_code == 200


def test_requests_with_wrong_keys_are_limited_by_address(serve: Serve) -> None:
    client = serve(api_keys=BOOTSTRAP_KEY, rate_limit=0.2)

    codes = [client.get("/v1/me", headers=bearer(NewApiKey.draw())).status_code for _ in range(3)]

    assert codes == [401, 401, 429]


def test_valid_key_is_not_locked_out_by_requests_from_its_address_without_one(
    serve: Serve, database: Database
) -> None:
    client = serve(api_keys=f"{BOOTSTRAP_KEY},{BOOTSTRAP_KEY} too", rate_limit=0.2)
    headers = [{}, bearer(NewApiKey.draw()), bearer(BOOTSTRAP_KEY)]

    codes = [[client.get("/v1/me", headers=sent).status_code for _ in range(3)] for sent in headers]

    assert codes == [[401, 401, 429], [401, 401, 429], [200, 200, 429]]
    for key in (f"{BOOTSTRAP_KEY} too", create_key(database, Scope.READ)):
        assert client.get("/v1/me", headers=bearer(key)).status_code == 200


def test_limit_of_an_address_is_not_evaded_by_naming_other_addresses(serve: Serve) -> None:
    client = serve(api_keys=BOOTSTRAP_KEY, rate_limit=0.2)

    answers = [client.get("/v1/me", headers={"X-Forwarded-For": f"192.0.2.{number}"}) for number in range(3)]

    assert [answer.status_code for answer in answers] == [401, 401, 429]


def test_behind_a_trusted_proxy_the_limit_is_of_the_address_that_it_names(serve: Serve) -> None:
    client = serve(api_keys=BOOTSTRAP_KEY, rate_limit=0.2, trusted_proxies="127.0.0.0/8")

    def status(forwarded_for: str) -> int:
        return client.get("/v1/me", headers={"X-Forwarded-For": forwarded_for}).status_code

    assert [status("192.0.2.1") for _ in range(3)] == [401, 401, 429]
    assert status("192.0.2.2") == 401
    # the proxy appends the address that it sees: what the client has sent before it decides nothing
    assert status("198.51.100.1, 192.0.2.1") == 429


def test_request_that_a_trusted_proxy_forwards_is_none_of_this_host(serve: Serve) -> None:
    client = serve(trusted_proxies="127.0.0.1")

    assert client.get("/v1/jobs").status_code == 200
    assert client.get("/v1/jobs", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 401


def test_each_read_key_of_the_settings_can_only_read_and_has_a_limit_of_its_own(serve: Serve) -> None:
    keys = ("a read key that is long", "another read key that is")
    client = serve(api_keys=BOOTSTRAP_KEY, read_keys=",".join(keys), rate_limit=0.2)

    for key in keys:
        me = client.get("/v1/me", headers=bearer(key)).json()
        assert me == {
            "key_id": None,
            "name": "a key of READ_KEYS",
            "scope": "read",
            "expires_at": None,
            **NO_RIGHTS,
        }
        assert client.post("/v1/jobs", headers=bearer(key), json={}).status_code == 403
        limited = client.get("/v1/me", headers=bearer(key))
        assert limited.status_code == 429
        assert f"key {keys.index(key) + 1} of READ_KEYS" in limited.json()["detail"]


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.1"])
def test_request_that_a_proxy_on_this_host_forwards_needs_a_key(
    client: httpx.Client, header: str, address: str
) -> None:
    assert client.get("/v1/jobs", headers={header: address}).status_code == 401


def test_without_any_key_there_is_no_rate_limit(serve: Serve) -> None:
    client = serve(rate_limit=0.2)

    assert {client.get("/v1/me").status_code for _ in range(5)} == {200}


def test_openapi_document_has_the_scope_of_each_operation(settings: Settings) -> None:
    document = create_app(settings).openapi()

    (scheme,) = document["components"]["securitySchemes"]
    submit = document["paths"]["/v1/jobs"]["post"]
    assert submit["security"] == [{scheme: ["submit"]}, {}]
    assert submit["x-scope"] == "submit"
    assert {"401", "403", "429"} <= set(submit["responses"])
    assert "security" not in document["paths"]["/livez"]["get"]


def test_openapi_document_says_whether_a_key_is_needed(settings: Settings) -> None:
    document = create_app(settings.model_copy(update={"api_keys": (SecretStr("k" * 16),)})).openapi()

    (scheme,) = document["components"]["securitySchemes"]
    assert document["paths"]["/v1/jobs"]["post"]["security"] == [{scheme: ["submit"]}]
