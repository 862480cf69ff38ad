"""`trainshed webhooks`: against a real API that delivers to a real receiver."""

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from api.app import create_app
from shared.db.engine import Database
from shared.settings import Settings
from shared.store import outbox
from tests.support.databases import open_database
from tests.support.queue_driver import cancelled
from tests.support.servers import running_app
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import Receiver, running_receiver
from trainshed.cli.main import app
from trainshed.client import Client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
def url(settings: Settings, sqlite_url: str) -> Iterator[str]:
    """The URL of an API whose webhooks may reach this host."""
    changed = settings.model_copy(update={"database_url": sqlite_url, "webhooks_allow_private": True})
    with running_app(create_app(changed)) as client:
        yield str(client.base_url)


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    with open_database(sqlite_url) as database:
        yield database


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["webhooks", *arguments, "--url", url], env={"COLUMNS": "300"})


def created(url: str, *arguments: str) -> str:
    """Create a webhook and return its id."""
    return str(json.loads(run(url, "create", *arguments, "--json").stdout)["id"])


def test_a_webhook_is_created_tested_listed_and_deleted(url: str, receiver: Receiver) -> None:
    made = run(url, "create", receiver.url, "--queue", "slow", "--kind", "train", "--state", "failed")
    assert made.exit_code == 0
    assert made.stdout.startswith("whsec_")
    assert made.stdout.strip() not in made.stderr
    (listed,) = json.loads(run(url, "--json").stdout)
    assert (listed["queue"], listed["kind"], listed["states"]) == ("slow", "train", ["failed"])

    tested = run(url, "test", listed["id"])

    assert (tested.exit_code, len(receiver.received)) == (0, 1)
    assert f"{receiver.received[0].id} is accepted" in tested.stderr
    table = run(url).stdout
    assert listed["id"] in table
    assert "slow train failed" in table
    assert "is deleted" in run(url, "delete", listed["id"]).stderr
    assert run(url).stderr == "No webhooks.\n"


def test_a_webhook_is_changed_paused_and_resumed(url: str, receiver: Receiver, database: Database) -> None:
    webhook_id = created(url, receiver.url, "--queue", "slow", "--kind", "train")
    nothing = run(url, "change", webhook_id)
    assert (nothing.exit_code, "name at least one change" in nothing.stderr) == (2, True)
    assert "is changed, and paused" in run(url, "change", webhook_id, "--pause", "--queue", "").stderr
    assert "paused" in run(url).stdout
    cancelled(database)
    assert run(url, "test", webhook_id).exit_code == 0
    assert [request.event["type"] for request in receiver.received] == ["webhook.test"]

    resumed = run(url, "change", webhook_id, "--resume", "--kind", "", "--state", "cancelled", "--json")

    hook = json.loads(resumed.stdout)
    assert (hook["queue"], hook["kind"], hook["states"], hook["paused_at"]) == (
        None,
        None,
        ["cancelled"],
        None,
    )
    # what ended before the change of the kind was not for it
    cancelled(database)
    wait_until(lambda: len(receiver.received) == 3, "what has waited is sent too")


def test_a_secret_is_replaced(url: str, receiver: Receiver) -> None:
    webhook_id = created(url, receiver.url)
    rotated = run(url, "rotate-secret", webhook_id)
    assert rotated.stdout.startswith("whsec_")
    assert webhook_id in rotated.stderr
    assert run(url, "test", webhook_id).exit_code == 0
    assert len(receiver.received[0].headers["webhook-signature"].split()) == 2


def test_a_test_that_is_not_accepted_says_why(url: str, receiver: Receiver) -> None:
    receiver.statuses = [500]
    tested = run(url, "test", created(url, receiver.url))
    assert tested.exit_code == 1
    assert "is not accepted: the answer is 500 Internal Server Error." in tested.stderr


def test_a_dead_delivery_is_listed_and_sent_again(url: str, receiver: Receiver, database: Database) -> None:
    receiver.statuses = [410, 204]
    webhook_id = created(url, receiver.url)
    job_id = cancelled(database)
    dead = wait_until(
        lambda: json.loads(run(url, "deliveries", webhook_id, "--state", "dead", "--json").stdout or "[]"),
        "the delivery is dead",
    )
    assert [delivery["job_id"] for delivery in dead] == [str(job_id)]
    assert "disabled" in run(url).stdout
    assert "410 Gone" in run(url, "deliveries", webhook_id).stdout

    again = run(url, "redeliver", webhook_id, dead[0]["id"])

    assert f"{dead[0]['id']} is sent again" in again.stderr
    with Client(url) as server:
        wait_until(lambda: not server.webhooks()[0].disabled_at, "it is accepted")
    assert {request.id for request in receiver.received} == {dead[0]["id"]}
    assert run(url, "deliveries", webhook_id, "--state", "dead").stderr == "No deliveries.\n"


def test_bad_input_is_explained(url: str, receiver: Receiver) -> None:
    assert "needs `http://`" in run(url, "create", "http:///hook").stderr
    unknown = run(url, "test", str(uuid4()))
    assert (unknown.exit_code, "there is no webhook" in unknown.stderr) == (2, True)
    running = run(url, "create", receiver.url, "--state", "running")
    assert running.exit_code == 2
    assert outbox.LEASE_S > 10
