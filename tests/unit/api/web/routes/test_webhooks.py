"""The page of webhooks: what is created, tested and deleted by forms; what was given up is listed."""

import re

import httpx
import pytest

from shared.db.engine import Database
from shared.schemas import DeliveryState, Scope
from tests.support import registry, stored
from tests.support.queue_driver import cancelled
from tests.support.registry import webhook

OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
URL = "https://example.invalid/hook"
PAGE = "/settings/webhooks"


def create(client: httpx.Client, **fields: str) -> httpx.Response:
    return client.post(PAGE, data={"url": URL, **fields}, headers=OWN_PAGE)


def test_a_secret_is_shown_once(client: httpx.Client) -> None:
    answer = create(client, description="tells the chat", queue="slow", kind="train", state="failed")

    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    (secret,) = re.findall(r"whsec_[\w+/=]+", answer.text)
    page = client.get(PAGE).text
    assert secret not in page
    assert all(text in page for text in (URL, "tells the chat", "Train of slow: failed", "Enabled"))


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("url", "http://127.0.0.1/", "internal address"),
        ("url", "example.org", "must be an http or https address"),
        ("queue", "a b", "must have only lower-case letters"),
        ("kind", "predict", "must be train or evaluate"),
    ],
)
def test_an_invalid_field_is_explained_and_the_others_are_kept(
    client: httpx.Client, field: str, value: str, reason: str
) -> None:
    answer = create(client, **{"description": "tells the chat", field: value})

    assert answer.status_code == 422
    assert reason in answer.text.partition(f'id="{field}-error"')[2].partition("</p>")[0]
    assert 'value="tells the chat"' in answer.text
    assert "No webhooks yet" in answer.text


def test_what_was_given_up_is_listed_and_sent_again(client: httpx.Client, database: Database) -> None:
    hook, job_id = webhook(database, URL), cancelled(database)
    delivery_id = registry.give_up(database)

    page = client.get(PAGE).text

    assert all(
        text in page for text in ("Disabled", f"/jobs/{job_id}", "the answer is 410 Gone", "Send again")
    )
    path = f"{PAGE}/{hook}/deliveries/{delivery_id}/redeliver"
    answer = client.post(path, data={}, headers=OWN_PAGE)
    assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)
    assert "Send again" not in client.get(PAGE).text
    assert stored.delivery_states(database, hook) == [DeliveryState.PENDING]


def test_a_webhook_is_tested_and_deleted(client: httpx.Client, database: Database) -> None:
    hook = webhook(database, URL)
    for action in ("test", "delete"):
        answer = client.post(f"{PAGE}/{hook}/{action}", data={}, headers=OWN_PAGE)
        assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)
        assert action == "delete" or stored.delivery_states(database, hook) == [DeliveryState.PENDING]
    assert "No webhooks yet" in client.get(PAGE).text


def test_a_webhook_is_changed_by_its_form(client: httpx.Client, database: Database) -> None:
    hook = webhook(database, URL, queue="slow", states=["failed", "cancelled"])
    page = client.get(PAGE).text
    assert '<option value="keep" selected>cancelled, failed</option>' in page

    def change(**fields: str) -> httpx.Response:
        return client.post(f"{PAGE}/{hook}/change", data={"url": URL, **fields}, headers=OWN_PAGE)

    assert change(queue="", kind="train", state="keep", description="chat").status_code == 303
    (changed,) = client.get("/v1/webhooks").json()["data"]
    assert (changed["queue"], changed["kind"], changed["states"]) == (None, "train", ["cancelled", "failed"])
    assert change(state="").status_code == 303
    assert len(client.get("/v1/webhooks").json()["data"][0]["states"]) == 3
    for url, reason in (("http://127.0.0.1/", "internal address"), ("x", "must be an http or https address")):
        refused = change(url=url, description="kept")
        assert refused.status_code == 422
        assert reason in refused.text.partition(f'id="{hook}-url-error"')[2].partition("</p>")[0]
        assert 'value="kept"' in refused.text
    assert client.get("/v1/webhooks").json()["data"][0]["url"] == URL


def test_a_webhook_is_paused_and_resumed(client: httpx.Client, database: Database) -> None:
    hook = webhook(database, URL)
    for action, shown in (("pause", "Paused"), ("resume", "Enabled")):
        answer = client.post(f"{PAGE}/{hook}/{action}", data={}, headers=OWN_PAGE)
        assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)
        assert shown in client.get(PAGE).text


def test_a_new_secret_is_shown_once(client: httpx.Client, database: Database) -> None:
    hook = webhook(database, URL)
    answer = client.post(f"{PAGE}/{hook}/rotate-secret", data={}, headers=OWN_PAGE)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    (secret,) = re.findall(r"whsec_[\w+/=]+", answer.text)
    assert "The secret is replaced" in answer.text
    assert secret not in client.get(PAGE).text


def test_it_is_for_administrators(client: httpx.Client, database: Database) -> None:
    assert PAGE in client.get("/settings").text
    key = registry.api_key(database, "Ada", Scope.SUBMIT)
    headers = {**OWN_PAGE, "Authorization": f"Bearer {key}"}
    assert PAGE not in client.get("/settings", headers=headers).text
    assert client.get(PAGE, headers=headers).status_code == 403
    assert client.post(PAGE, data={"url": URL}, headers=headers).status_code == 403
