"""Signing in sets a cookie that the API accepts; signing out removes it."""

from collections.abc import Iterator

import httpx
import pytest

from api.app import create_app
from api.http.callers import as_cookie
from shared.db.engine import Database
from shared.schemas import Scope
from shared.settings import Settings
from tests.support import registry
from tests.support.registry import NewApiKey
from tests.support.servers import running_app

OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def guarded(settings: Settings, database_url: str) -> Iterator[httpx.Client]:
    """A client of an API that needs a key; as a browser, it keeps cookies."""
    own = settings.model_copy(update={"database_url": database_url})
    own = Settings.model_validate({**own.model_dump(), "api_keys": "k" * 16})
    with running_app(create_app(own)) as client:
        client.headers.update(OWN_PAGE)
        yield client


def create_key(database: Database, scope: Scope) -> NewApiKey:
    return registry.api_key(database, "Ada", scope)


@pytest.mark.parametrize("scope", list(Scope))
def test_a_cookie_allows_what_its_keys_scope_allows(
    guarded: httpx.Client, database: Database, scope: Scope
) -> None:
    answer = guarded.post("/sign-in", data={"key": f" {create_key(database, scope)}\n", "next": "/jobs"})

    assert (answer.status_code, answer.headers["Location"]) == (303, "/jobs")
    assert guarded.get("/v1/me").json()["scope"] == scope
    assert guarded.get("/jobs").status_code == 200
    expected = 202 if scope.includes(Scope.SUBMIT) else 403
    assert guarded.post("/v1/jobs", json={"kind": "train"}).status_code == expected
    assert "Ada" in guarded.get("/sign-in").text

    guarded.post("/sign-out", data={})
    assert guarded.get("/v1/me").status_code == 401


def test_a_cookie_changes_nothing_for_pages_of_other_sites(guarded: httpx.Client, database: Database) -> None:
    guarded.post("/sign-in", data={"key": str(create_key(database, Scope.ADMIN))})

    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
        assert guarded.post("/v1/jobs", json={"kind": "train"}, headers=headers).status_code == 403
    del guarded.headers["Sec-Fetch-Site"]  # a browser that says nothing
    assert guarded.post("/v1/jobs", json={"kind": "train"}).status_code == 401
    assert guarded.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(("key", "status"), [("wrong", 401), ("ts_0_0", 401), ("", 422)])
def test_a_wrong_key_is_refused_and_not_kept(guarded: httpx.Client, key: str, status: int) -> None:
    answer = guarded.post("/sign-in", data={"key": key})

    assert answer.status_code == status
    assert "key-error" in answer.text
    assert "Set-Cookie" not in answer.headers


def test_who_signs_in_is_sent_to_pages_of_this_site_only(guarded: httpx.Client) -> None:
    answer = guarded.post("/sign-in", data={"key": "k" * 16, "next": "//evil.example"})

    assert answer.headers["Location"] == "/"


@pytest.mark.parametrize(
    ("headers", "is_secure"),
    [({}, False), ({"X-Forwarded-Proto": "https"}, True), ({"Origin": "https://127.0.0.1"}, True)],
    ids=str,
)
def test_the_cookie_is_secure_where_the_page_came_by_https(
    guarded: httpx.Client, headers: dict[str, str], is_secure: bool
) -> None:
    answer = guarded.post("/sign-in", data={"key": "k" * 16}, headers=headers)
    cookie = answer.headers["Set-Cookie"]

    assert ("Secure" in cookie) is is_secure
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


def test_a_key_that_is_not_valid_any_more_is_told_apart_from_none(guarded: httpx.Client) -> None:
    cookie = {"Cookie": f"trainshed_key={as_cookie(str(NewApiKey.draw()).encode())}"}

    assert "revoked or has expired" in guarded.get("/sign-in", headers=cookie).text
    assert "revoked or has expired" not in guarded.get("/sign-in").text


def test_without_keys_there_is_nothing_to_sign_in_to(client: httpx.Client) -> None:
    assert "No key is needed here" in client.get("/sign-in").text
