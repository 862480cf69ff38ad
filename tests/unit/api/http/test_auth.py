"""Who may do what, with every kind of key and with none."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from api.app import create_app
from api.http.auth import SCOPES
from shared.db.engine import Database
from shared.schemas import Scope
from shared.settings import Settings
from shared.store import api_keys
from shared.store.api_keys import NewApiKey
from tests.support.factories import submitted
from tests.support.servers import running_app

BOOTSTRAP = "a secret of the owner's"
OPEN = ("/livez", "/version", "/docs", "/docs/style.css", "/openapi.json", "/problems/unauthenticated")

Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve(settings: Settings, database_url: str) -> Iterator[Serve]:
    """Serves the API with settings of the test's; gives a client that shows a key, if there is one."""
    with ExitStack() as servers:

        def serve(key: object = "", **values: Any) -> httpx.Client:
            own = Settings.model_validate({**settings.model_dump(), "database_url": database_url, **values})
            client = servers.enter_context(running_app(create_app(own)))
            client.headers.update({"Authorization": f"Bearer {key}"} if key else {})
            return client

        yield serve


def make_key(database: Database, scope: Scope, lifetime_s: float | None = None) -> NewApiKey:
    key = NewApiKey.draw()
    database.write(
        lambda session: api_keys.create(
            session, key, name=f"a {scope} key", scope=scope, lifetime_s=lifetime_s
        )
    )
    return key


def shown(key: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_every_operation_declares_its_scope(settings: Settings) -> None:
    document = create_app(settings).openapi()
    operations = {
        f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods
    }
    assert operations - set(SCOPES) == set(), "declare these in api/http/auth.py"


def test_what_reads_needs_less_than_what_changes() -> None:
    for operation, scope in SCOPES.items():
        if scope is not None and not operation.startswith("GET"):
            assert scope is not Scope.READ, operation


def test_an_operation_that_declares_no_scope_is_an_administrators(
    settings: Settings, database_url: str, database: Database
) -> None:
    app: FastAPI = create_app(settings.model_copy(update={"database_url": database_url}))
    app.add_api_route("/v1/forgotten", lambda: "secrets")
    with running_app(app) as client:
        submit, admin = make_key(database, Scope.SUBMIT), make_key(database, Scope.ADMIN)
        assert client.get("/v1/forgotten", headers=shown(submit)).status_code == 403
        assert client.get("/v1/forgotten", headers=shown(admin)).status_code == 200


def test_without_any_key_this_host_may_do_all(client: httpx.Client) -> None:
    assert client.get("/v1/jobs").status_code == 200
    assert client.get("/v1/api-keys").status_code == 200
    assert client.get("/v1/me").json()["scope"] == "admin"


def test_without_any_key_a_key_that_is_shown_does_no_harm(client: httpx.Client) -> None:
    assert client.get("/v1/jobs", headers=shown("left over from elsewhere")).status_code == 200


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
    client = serve(key, api_keys=BOOTSTRAP)

    answer = client.get("/v1/jobs")

    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="trainshed"')
    assert ('error="invalid_token"' in answer.headers["WWW-Authenticate"]) == bool(key)


def test_what_operators_and_readers_need_is_open(serve: Serve) -> None:
    client = serve(api_keys=BOOTSTRAP)

    assert {path: client.get(path).status_code for path in OPEN} == dict.fromkeys(OPEN, 200)
    assert client.get("/readyz").status_code in (200, 503)
    assert client.get("/").status_code == 307


def test_each_of_the_settings_keys_may_do_all(serve: Serve) -> None:
    client = serve(api_keys=f"{BOOTSTRAP},a second one for a change")

    for key in (BOOTSTRAP, "a second one for a change"):
        me = client.get("/v1/me", headers=shown(key)).json()
        assert me == {"key_id": None, "name": "a key of API_KEYS", "scope": "admin", "expires_at": None}


def test_once_a_key_is_made_every_request_needs_one(client: httpx.Client, database: Database) -> None:
    key = make_key(database, Scope.ADMIN)

    assert client.get("/v1/jobs").status_code == 401
    assert client.get("/v1/jobs", headers=shown(key)).status_code == 200


def test_a_key_may_do_what_its_scope_says_and_no_more(client: httpx.Client, database: Database) -> None:
    keys = {scope: make_key(database, scope) for scope in Scope}
    job_id = submitted(database)
    needed = {
        ("GET", "/v1/jobs"): Scope.READ,
        ("POST", f"/v1/jobs/{job_id}/cancel"): Scope.SUBMIT,
        ("GET", "/v1/api-keys"): Scope.ADMIN,
    }

    for (method, path), least in needed.items():
        for scope, key in keys.items():
            answer = client.request(method, path, headers=shown(key))
            assert answer.status_code == (200 if scope.includes(least) else 403), (path, scope)
            if answer.status_code == 403:
                assert answer.json()["type"] == "/problems/forbidden"
                assert f'scope="{least}"' in answer.headers["WWW-Authenticate"]


def test_a_key_that_expired_or_was_revoked_opens_nothing(client: httpx.Client, database: Database) -> None:
    expired, revoked = make_key(database, Scope.ADMIN, lifetime_s=-1), make_key(database, Scope.ADMIN)
    database.write(lambda session: api_keys.revoke(session, revoked.id))

    assert client.get("/v1/jobs", headers=shown(expired)).status_code == 401
    assert client.get("/v1/jobs", headers=shown(revoked)).status_code == 401


def test_a_refused_submit_stores_nothing(serve: Serve, database: Database) -> None:
    client = serve(make_key(database, Scope.READ), api_keys=BOOTSTRAP)

    assert client.post("/v1/jobs", json={"kind": "train"}).status_code == 403
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_holder_that_asks_too_often_is_told_when_to_come_back(serve: Serve, database: Database) -> None:
    key, other = make_key(database, Scope.READ), make_key(database, Scope.READ)
    client = serve(key, rate_limit=0.2)

    answers = [client.get("/v1/me") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["type"] == "/problems/too-many-requests"
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 5
    assert client.get("/v1/me", headers=shown(other)).status_code == 200
    assert client.get("/livez").status_code == 200


def test_who_tries_wrong_keys_is_slowed_down(serve: Serve) -> None:
    client = serve(api_keys=BOOTSTRAP, rate_limit=0.2)

    codes = [client.get("/v1/me", headers=shown(NewApiKey.draw())).status_code for _ in range(3)]

    assert codes == [401, 401, 429]


def test_without_any_key_nobody_is_slowed_down(serve: Serve) -> None:
    client = serve(rate_limit=0.2)

    assert {client.get("/v1/me").status_code for _ in range(5)} == {200}


def test_the_document_says_which_operations_ask_for_a_key(settings: Settings) -> None:
    document = create_app(settings).openapi()

    (scheme,) = document["components"]["securitySchemes"]
    assert document["paths"]["/v1/jobs"]["post"]["security"] == [{scheme: []}, {}]
    assert document["paths"]["/v1/jobs"]["post"]["x-scope"] == "submit"
    assert {"401", "403", "429"} <= set(document["paths"]["/v1/jobs"]["post"]["responses"])
    assert "security" not in document["paths"]["/livez"]["get"]


def test_where_keys_are_configured_the_document_says_that_one_is_needed(settings: Settings) -> None:
    document = create_app(settings.model_copy(update={"api_keys": (SecretStr("k" * 16),)})).openapi()

    (scheme,) = document["components"]["securitySchemes"]
    assert document["paths"]["/v1/jobs"]["post"]["security"] == [{scheme: []}]
