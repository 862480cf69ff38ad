"""Webhooks over HTTP: created with a secret that is shown once, listed, tested, deleted."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.db.engine import Database
from shared.schemas import Scope
from tests.support import registry
from tests.support.queue_driver import cancelled
from tests.support.registry import webhook_test

URL = "https://example.invalid/hook"


def make(client: httpx.Client, **request: Any) -> httpx.Response:
    return client.post("/v1/webhooks", json={"url": URL, **request})


def deliveries(client: httpx.Client, webhook_id: str, **query: str) -> list[dict[str, Any]]:
    answer = client.get(f"/v1/webhooks/{webhook_id}/deliveries", params=query)
    assert answer.status_code == 200
    return list(answer.json()["data"])


def test_a_secret_is_returned_only_once(client: httpx.Client) -> None:
    answer = make(client, description="chat", queue="slow", kind="train", states=["failed", "cancelled"])
    made = answer.json()

    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    listed = client.get("/v1/webhooks")
    assert listed.json()["data"] == [made]
    assert (made["url"], made["queue"], made["kind"]) == (URL, "slow", "train")
    assert sorted(made["states"]) == ["cancelled", "failed"]
    assert secret[6:] not in listed.text


@pytest.mark.parametrize(
    ("request_", "pointer"),
    [
        ({"url": "example.org"}, "/url"),
        ({"url": "ftp://example.org"}, "/url"),
        ({"states": []}, "/states"),
        ({"states": ["failed"] * 4}, "/states"),
        ({"kind": "predict"}, "/kind"),
        ({"queue": "a b"}, "/queue"),
        ({"event": "job.failed"}, "/event"),
    ],
    ids=str,
)
def test_an_invalid_field_is_named(client: httpx.Client, request_: dict[str, Any], pointer: str) -> None:
    answer = make(client, **request_)
    assert answer.status_code == 422
    assert [error["pointer"][: len(pointer)] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1/jobs", "http://[::1]/", "http://169.254.169.254/latest"]
)
def test_an_internal_address_is_refused_with_what_to_do(client: httpx.Client, url: str) -> None:
    answer = make(client, url=url)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-webhook-url")
    assert "TRAINSHED_WEBHOOKS_ALLOW_PRIVATE" in answer.json()["detail"]
    assert client.get("/v1/webhooks").json()["data"] == []


def test_ends_of_jobs_are_listed_and_counted(client: httpx.Client, database: Database) -> None:
    webhook_id = make(client).json()["id"]
    job_id = cancelled(database)

    (delivery,) = deliveries(client, webhook_id)

    assert (delivery["job_id"], delivery["type"]) == (str(job_id), "job.cancelled")
    assert delivery["state"] == "pending"
    assert client.get("/v1/webhooks").json()["data"][0]["pending"] == 1
    assert len(deliveries(client, webhook_id, state="pending")) == 1
    assert (
        deliveries(client, webhook_id, state="dead")
        == deliveries(client, webhook_id, state="delivered")
        == []
    )


def test_a_test_is_a_delivery_without_a_job(client: httpx.Client) -> None:
    webhook_id = make(client).json()["id"]

    answer = client.post(f"/v1/webhooks/{webhook_id}/test")

    assert (answer.status_code, answer.json()["type"], answer.json()["job_id"]) == (202, "webhook.test", None)
    assert [delivery["id"] for delivery in deliveries(client, webhook_id)] == [answer.json()["id"]]


def test_a_dead_delivery_is_sent_again_with_the_same_id(client: httpx.Client, database: Database) -> None:
    webhook_id = make(client).json()["id"]
    delivery_id = webhook_test(database, UUID(webhook_id))
    assert registry.give_up(database) == delivery_id
    (dead,) = deliveries(client, webhook_id, state="dead")
    assert (dead["last_error"], dead["next_at"]) == ("the answer is 410 Gone", None)

    answer = client.post(f"/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver")

    assert (answer.status_code, answer.json()["id"]) == (202, str(delivery_id))
    assert answer.json()["state"] == "pending"
    assert deliveries(client, webhook_id, state="dead") == []


def test_a_deleted_webhook_is_not_there(client: httpx.Client) -> None:
    webhook_id = make(client).json()["id"]
    assert client.delete(f"/v1/webhooks/{webhook_id}").status_code == 204
    for answer in (
        client.delete(f"/v1/webhooks/{webhook_id}"),
        change(client, webhook_id, paused=True),
        client.post(f"/v1/webhooks/{webhook_id}/rotate-secret"),
        client.get(f"/v1/webhooks/{webhook_id}/deliveries"),
        client.post(f"/v1/webhooks/{webhook_id}/test"),
    ):
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/webhook-not-found")


def test_the_lists_have_pages(client: httpx.Client) -> None:
    made = [make(client).json()["id"] for _ in range(3)]
    first = client.get("/v1/webhooks", params={"limit": 2}).json()
    rest = client.get("/v1/webhooks", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [hook["id"] for hook in first["data"] + rest["data"]] == made[::-1]
    assert not rest["has_more"]


def change(client: httpx.Client, webhook_id: str, **changes: Any) -> httpx.Response:
    return client.patch(f"/v1/webhooks/{webhook_id}", json=changes)


def test_what_is_given_is_changed(client: httpx.Client) -> None:
    made = make(client, queue="slow", states=["failed"]).json()
    del made["secret"]

    answer = change(client, made["id"], url=f"{URL}/new", queue=None, paused=True)

    paused_at = answer.json()["paused_at"]
    assert (answer.status_code, paused_at is not None) == (200, True)
    assert answer.json() == {**made, "url": f"{URL}/new", "queue": None, "paused_at": paused_at}
    assert client.get("/v1/webhooks").json()["data"] == [answer.json()]
    assert change(client, made["id"], paused=False).json()["paused_at"] is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"url": "http://127.0.0.1/"}, "invalid-webhook-url"),
        ({"url": None}, "invalid-request"),
        ({"url": ""}, "invalid-request"),
        ({"states": None}, "invalid-request"),
        ({"paused": 0}, "invalid-request"),
        ({"secret": "whsec_"}, "invalid-request"),
    ],
    ids=str,
)
def test_an_invalid_change_changes_nothing(
    client: httpx.Client, changes: dict[str, Any], problem: str
) -> None:
    before = make(client).json()["id"], client.get("/v1/webhooks").json()
    answer = change(client, before[0], **changes, description="new")
    assert (answer.status_code, answer.json()["type"]) == (422, f"/problems/{problem}")
    assert client.get("/v1/webhooks").json() == before[1]


def test_a_secret_is_replaced_and_returned_only_once(client: httpx.Client) -> None:
    made = make(client).json()

    answer = client.post(f"/v1/webhooks/{made['id']}/rotate-secret")

    rotated = answer.json()
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_secret_until"] is not None
    listed = client.get("/v1/webhooks").text
    assert all(each["secret"][6:] not in listed for each in (made, rotated))


def test_webhooks_are_for_administrators(client: httpx.Client, database: Database) -> None:
    webhook_id = make(client).json()["id"]
    key = registry.api_key(database, "Ada", Scope.SUBMIT)
    headers = {"Authorization": f"Bearer {key}"}
    delivery = f"/v1/webhooks/{webhook_id}/deliveries"
    for method, path in (
        ("POST", "/v1/webhooks"),
        ("GET", "/v1/webhooks"),
        ("PATCH", f"/v1/webhooks/{webhook_id}"),
        ("POST", f"/v1/webhooks/{webhook_id}/rotate-secret"),
        ("DELETE", f"/v1/webhooks/{webhook_id}"),
        ("POST", f"/v1/webhooks/{webhook_id}/test"),
        ("GET", delivery),
        ("POST", f"{delivery}/{webhook_id}/redeliver"),
    ):
        assert client.request(method, path, headers=headers).status_code == 403, (method, path)
