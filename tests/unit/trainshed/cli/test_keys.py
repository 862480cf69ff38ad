"""`trainshed keys`, and the key that each command shows."""

import json
from collections.abc import Iterator

import httpx
import pytest
from typer.testing import CliRunner, Result

from api.app import create_app
from shared.schemas import ApiKeyCreate, Scope
from shared.settings import Settings
from tests.support.fake_api import FakeApi
from tests.support.servers import running_app
from trainshed.cli.main import app
from trainshed.client import Client, own_key

BOOTSTRAP = "a secret of the owner's"


@pytest.fixture
def url(settings: Settings, sqlite_url: str) -> Iterator[str]:
    """The address of a real API that asks for keys."""
    own = Settings.model_validate(
        {**settings.model_dump(), "database_url": sqlite_url, "api_keys": BOOTSTRAP}
    )
    with running_app(create_app(own)) as client:
        yield str(client.base_url)


def run(url: str, *arguments: str, key: str = BOOTSTRAP) -> Result:
    return CliRunner().invoke(app, ["--api-key", key, *arguments, "--url", url])


def test_a_key_is_made_used_listed_and_revoked(url: str) -> None:
    made = run(url, "keys", "create", "Ada", "--scope", "submit", "--days", "90")
    key = made.stdout.strip()
    assert made.exit_code == 0
    assert key not in made.stderr
    assert run(url, "jobs", key=key).exit_code == 0

    (listed,) = json.loads(run(url, "keys", "list", "--json").stdout)
    assert (listed["name"], listed["scope"], listed["revoked_at"]) == ("Ada", "submit", None)
    table = run(url, "keys", "list").stdout
    assert listed["id"] in table
    assert "until " in table

    assert "opens nothing any more" in run(url, "keys", "revoke", listed["id"]).stderr
    assert "revoked" in run(url, "keys", "list").stdout
    refused = run(url, "jobs", key=key)
    assert refused.stderr == "Error: the API key is unknown, revoked or expired: show another one\n"
    assert refused.exit_code == 2


def test_every_command_about_keys_writes_json(url: str) -> None:
    made = json.loads(run(url, "keys", "create", "Ada", "--json").stdout)
    assert made["scope"] == "read"
    assert json.loads(run(url, "keys", "revoke", made["id"], "--json").stdout) == {"revoked": made["id"]}


def test_an_empty_list_says_so(url: str) -> None:
    assert run(url, "keys", "list").stderr == "There is no key.\n"


def test_without_a_key_the_command_says_what_is_missing(url: str) -> None:
    result = CliRunner().invoke(app, ["jobs", "--url", url])
    assert "send the header `Authorization: Bearer KEY`" in result.stderr
    assert result.exit_code == 2


def test_the_python_client_takes_its_key_from_the_environment(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSHED_API_KEY", BOOTSTRAP)
    with Client(url) as server:
        assert server.me().scope is Scope.ADMIN
        key = server.create_api_key(ApiKeyCreate(name="Ada")).key
    with Client(url, api_key=key) as server:
        assert (server.me().name, server.me().scope) == ("Ada", Scope.READ)


def test_the_owners_keys_are_shown_to_their_own_api_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSHED_API_KEYS", BOOTSTRAP)
    api = FakeApi()
    transport = httpx.MockTransport(api._answer)
    for url in (None, "http://elsewhere.example"):
        with Client(url, transport=transport) as server:
            server.workers()
    own, elsewhere = api.requests
    assert own.headers["Authorization"] == f"Bearer {BOOTSTRAP}"
    assert "Authorization" not in elsewhere.headers


def test_an_own_key_comes_before_the_owners() -> None:
    assert own_key(Settings.model_validate({"api_keys": BOOTSTRAP, "api_key": "ts_1_2"})) == "ts_1_2"
    assert own_key(Settings()) == ""
