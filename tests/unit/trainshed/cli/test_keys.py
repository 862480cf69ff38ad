"""`trainshed keys`, and the key that each command sends."""

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from api.app import create_app
from shared.schemas import ApiKey, ApiKeyCreate, Scope
from shared.settings import Settings
from tests.support.command_line import rendered_lines
from tests.support.fake_api import T0
from tests.support.servers import running_app
from trainshed.cli.main import app
from trainshed.cli.tables import key_table
from trainshed.client import Client

ADMIN_KEY = "a secret of the administrator"


@pytest.fixture
def url(settings: Settings, sqlite_url: str) -> Iterator[str]:
    """The URL of a real API that requires keys."""
    guarded = Settings.model_validate(
        {**settings.model_dump(), "database_url": sqlite_url, "api_keys": ADMIN_KEY}
    )
    with running_app(create_app(guarded)) as client:
        yield str(client.base_url)


def run(url: str, *arguments: str, key: str = ADMIN_KEY) -> Result:
    return CliRunner().invoke(app, ["--api-key", key, *arguments, "--url", url])


def test_a_key_is_created_used_listed_and_revoked(url: str) -> None:
    made = run(url, "keys", "create", "Ada", "--scope", "submit", "--days", "90")
    key = made.stdout.strip()
    assert made.exit_code == 0
    assert key not in made.stderr
    assert run(url, "jobs", key=key).exit_code == 0

    (listed,) = json.loads(run(url, "keys", "list", "--json").stdout)
    assert (listed["name"], listed["scope"], listed["revoked_at"]) == ("Ada", "submit", None)
    table = run(url, "keys", "list").stdout
    assert table.splitlines()[2].split()[:4] == [listed["id"][-8:], "Ada", "submit", "until"]

    revoked = run(url, "keys", "revoke", listed["id"][-8:])
    assert revoked.stderr == f"Key {listed['id']} is revoked.\n"
    assert "revoked" in run(url, "keys", "list").stdout
    refused = run(url, "jobs", key=key)
    assert refused.stderr == "Error: the API key is unknown, revoked or expired: use another one\n"
    assert refused.exit_code == 2


def test_keys_are_created_and_revoked_with_json_output(url: str) -> None:
    made = json.loads(run(url, "keys", "create", "Ada", "--json").stdout)
    assert made["scope"] == "read"
    assert json.loads(run(url, "keys", "revoke", made["id"], "--json").stdout) == {"revoked": made["id"]}


def test_an_empty_list_of_keys_is_a_message(url: str) -> None:
    assert run(url, "keys", "list").stderr == "No keys.\n"


def test_a_command_without_a_required_key_says_how_to_send_one(url: str) -> None:
    result = CliRunner().invoke(app, ["jobs", "--url", url])
    assert "With `trainshed`, set TRAINSHED_API_KEY or give --api-key KEY" in result.stderr
    assert result.exit_code == 2


def test_the_python_client_reads_its_key_from_the_environment(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSHED_API_KEY", ADMIN_KEY)
    with Client(url) as server:
        assert server.me().scope is Scope.ADMIN
        key = server.create_api_key(ApiKeyCreate(name="Ada")).key
    with Client(url, api_key=key) as server:
        assert (server.me().name, server.me().scope) == ("Ada", Scope.READ)


def test_a_keys_weight_and_limit_are_changed(url: str) -> None:
    run(url, "keys", "create", "Ada", "--scope", "submit", "--max-running", "2")
    (made,) = json.loads(run(url, "keys", "list", "--json").stdout)
    assert made["max_running"] == 2

    changed = run(url, "keys", "change", made["id"], "--weight", "3", "--max-running", "none")

    message = f"Key {made['id']} has weight 3, and any number of its jobs run at the same time.\n"
    assert changed.stderr == message
    (listed,) = json.loads(run(url, "keys", "list", "--json").stdout)
    assert (listed["weight"], listed["max_running"]) == (3.0, None)


def test_a_key_gets_a_team_and_the_right_to_submit_urgent_jobs(url: str) -> None:
    run(url, "keys", "create", "Ada", "--scope", "submit", "--team", "vision", "--urgent")
    (made,) = json.loads(run(url, "keys", "list", "--json").stdout)
    assert (made["team"], made["may_urgent"]) == ("vision", True)
    changed = run(url, "keys", "change", made["id"], "--team", "", "--no-urgent")
    assert changed.stderr.endswith("It has no team, and may not submit urgent jobs.\n")
    assert "Team" in run(url, "keys", "list").stdout


def test_a_change_of_nothing_is_refused(url: str) -> None:
    run(url, "keys", "create", "Ada")
    (made,) = json.loads(run(url, "keys", "list", "--json").stdout)
    assert "--max-running" in run(url, "keys", "change", made["id"]).stderr
    refused = run(url, "keys", "change", made["id"], "--max-running", "0")
    assert "'0' is neither a number from 1 nor `none`" in refused.stderr


@pytest.fixture
def open_url(settings: Settings, sqlite_url: str) -> Iterator[str]:
    """The URL of a real API whose settings have no key."""
    with running_app(create_app(settings.model_copy(update={"database_url": sqlite_url}))) as client:
        yield str(client.base_url)


def test_the_last_administrators_keys_expiry_and_revocation_are_announced(open_url: str) -> None:
    first = run(open_url, "keys", "create", "Grace", "--scope", "admin", "--days", "90", key="")
    assert "Warning: no key with scope `admin` is valid in 89 d. Create another before" in first.stderr
    key = first.stdout.strip()
    reader = run(open_url, "keys", "create", "wall display", "--json", key=key)
    assert "is valid in 89 d" in reader.stderr
    assert "is valid in 89 d" in run(open_url, "keys", "list", key=key).stderr
    unlimited = run(open_url, "keys", "create", "Ada", "--scope", "admin", "--json", key=key)
    assert unlimited.stderr == ""
    (listed,) = (key for key in json.loads(run(open_url, "keys", "list", "--json", key=key).stdout)[2:])
    assert run(open_url, "keys", "revoke", json.loads(unlimited.stdout)["id"], key=key).stderr.endswith(
        "the server's setting API_KEYS could.\n"
    )

    last = run(open_url, "keys", "revoke", listed["id"], key=key)
    assert "Warning: no key with scope `admin` is valid. Only a key of the server's setting" in last.stderr


def test_that_no_key_is_left_is_announced(open_url: str) -> None:
    key = run(open_url, "keys", "create", "Grace", "--scope", "admin", key="").stdout.strip()
    (listed,) = json.loads(run(open_url, "keys", "list", "--json", key=key).stdout)
    assert "has admin access" in run(open_url, "keys", "revoke", listed["id"], key=key).stderr


def test_a_key_of_the_settings_needs_no_warning(url: str) -> None:
    run(url, "keys", "create", "Ada")
    assert run(url, "keys", "list").stderr == ""


def test_an_expired_key_is_listed_as_expired() -> None:
    key = ApiKey(
        id=uuid4(),
        name="Ada",
        scope=Scope.READ,
        created_at=T0,
        expires_at=T0,
        revoked_at=None,
    )
    assert rendered_lines(key_table([key]))[2].split()[3:4] == ["expired"]


def test_what_names_no_key_is_refused(url: str) -> None:
    assert (
        "'nosuch' is not a key: give its id, or the end of its id"
        in run(url, "keys", "revoke", "nosuch").stderr
    )
