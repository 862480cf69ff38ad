"""A delivery is a signed POST to the address that was checked; each failure is an answer with its reason."""

import asyncio
import base64
import hashlib
import hmac
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from api.webhooks import sending
from api.webhooks.sending import Answer, Sender, body_of, signature
from shared.db.tables import WebhookDelivery
from shared.settings import Settings
from shared.store.outbox import LEASE_S, Claimed
from tests.support.ports import closed_port
from tests.support.webhook_receiver import Received, Receiver, running_receiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(bytes(24)).decode()
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


def make_claim(url: str, *previous: str, **overrides: Any) -> Claimed:
    values: dict[str, Any] = {"id": UUID(int=1), "webhook_id": UUID(int=2), "attempts": 1}
    values |= {"created_at": NOW, "next_at": NOW + timedelta(seconds=LEASE_S + 7)}
    return Claimed(WebhookDelivery(**{**values, **overrides}), url, (SECRET, *previous))


def send(claimed: Claimed, *, allow_private: bool = True) -> Answer:
    async def once() -> Answer:
        sender = Sender(Settings(webhooks_allow_private=allow_private))
        try:
            return await sender.send(claimed)
        finally:
            await sender.close()

    return asyncio.run(once())


def verify(request: Received, secret: str = SECRET) -> bool:
    """Verify a signature as the specification tells receivers to."""
    assert secret.startswith("whsec_")
    signed = b".".join([request.id.encode(), request.headers["webhook-timestamp"].encode(), request.body])
    expected = hmac.new(base64.b64decode(secret[6:]), signed, hashlib.sha256).digest()
    for versioned in request.headers["webhook-signature"].split(" "):
        version, _, value = versioned.partition(",")
        if version == "v1" and hmac.compare_digest(base64.b64decode(value), expected):
            return True
    return False


def test_the_signature_is_that_of_the_specifications_example() -> None:
    body = b'{"test": 2432232314}'
    signed = signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_delivery_can_be_verified_by_its_receiver(receiver: Receiver) -> None:
    assert send(make_claim(receiver.url)) == Answer(204, "the answer is 204 No Content")
    (request,) = receiver.received
    assert verify(request)
    assert not verify(request, OTHER)
    assert (request.path, request.id) == ("/hook", str(UUID(int=1)))
    assert request.headers["webhook-timestamp"] == str(int(NOW.timestamp()) + 7)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Trainshed/")
    assert SECRET[6:] not in str(request)


def test_the_body_tells_how_the_job_ended() -> None:
    job: dict[str, Any] = {"name": "mine", "kind": "train", "state": "failed", "queue": "slow", "tags": ["a"]}
    job |= {"error_code": "internal", "error_message": "it broke", "duration_s": 1.5}
    job["last_values"] = {"loss": 0.5, "r2": None}
    claimed = make_claim("", job_id=UUID(int=3), **job)
    body = Received("", {}, body_of(claimed.delivery, "https://trainshed.example"))
    assert body.event == {
        "type": "job.failed",
        "timestamp": "2026-01-02T03:04:05+00:00",
        "data": {
            "id": str(UUID(int=3)),
            "name": "mine",
            "kind": "train",
            "state": "failed",
            "queue": "slow",
            "tags": ["a"],
            "error": {"code": "internal", "message": "it broke"},
            "values": {"loss": 0.5, "r2": None},
            "duration_s": 1.5,
            "model_id": None,
            "urls": {
                "job": f"https://trainshed.example/v1/jobs/{UUID(int=3)}",
                "page": f"https://trainshed.example/jobs/{UUID(int=3)}",
            },
        },
    }
    succeeded = make_claim("", job_id=UUID(int=3), state="succeeded", model_id=UUID(int=4)).delivery
    data = Received("", {}, body_of(succeeded, "")).event["data"]
    assert (data["error"], data["urls"]["model"]) == (None, f"/v1/models/{UUID(int=4)}")


def test_a_test_tells_of_no_job() -> None:
    event = Received("", {}, body_of(make_claim("").delivery, "")).event
    assert (event["type"], event["data"]) == ("webhook.test", {"webhook_id": str(UUID(int=2))})


@pytest.mark.parametrize("status", [200, 202, 299])
def test_every_2xx_is_acceptance(status: int, receiver: Receiver) -> None:
    receiver.statuses = [status]
    assert send(make_claim(receiver.url)).is_accepted


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 410, 429, 500, 503])
def test_other_answers_are_not(status: int, receiver: Receiver) -> None:
    receiver.statuses = [status]
    answer = send(make_claim(receiver.url))
    assert (answer.is_accepted, answer.is_gone) == (False, status == 410)
    assert f"the answer is {status}" in answer.detail


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.statuses, receiver.headers = [307], {"Location": receiver.url.replace("/hook", "/other")}
    answer = send(make_claim(receiver.url))
    assert answer == Answer(307, "the answer is 307 Temporary Redirect: redirects are not followed")
    assert [request.path for request in receiver.received] == ["/hook"]


def test_an_internal_address_is_sent_nothing(receiver: Receiver) -> None:
    answer = send(make_claim(receiver.url), allow_private=False)
    assert (answer.status, receiver.received) == (None, [])
    assert "127.0.0.1 is an internal address" in answer.detail


def test_a_name_that_resolves_to_an_internal_address_is_sent_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", receiver.port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    answer = send(make_claim(f"http://rebound.example:{receiver.port}/hook"), allow_private=False)
    assert (answer.status, receiver.received) == (None, [])
    assert "rebound.example has the internal address 127.0.0.1" in answer.detail


def test_the_address_that_was_checked_is_the_one_that_is_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, original = [], socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        asked.append(host.decode() if isinstance(host, bytes) else host)
        return original("127.0.0.1", port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert send(make_claim(f"http://receiver.example:{receiver.port}/hook")).is_accepted
    assert asked.count("receiver.example") == 1
    assert receiver.received[0].headers["host"] == f"receiver.example:{receiver.port}"


def test_the_next_address_is_tried_where_one_cannot_be_reached(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, 1, 6, "", (address, 0)) for address in ("127.0.0.2", "127.0.0.1")]
    resolved = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        return found if host == "receiver.example" else resolved(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert send(make_claim(f"http://receiver.example:{receiver.port}/hook")).is_accepted


def test_a_receiver_that_is_down_or_silent_is_an_answer(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_port() as port:
        down = send(make_claim(f"http://127.0.0.1:{port}/"))
    assert down.status is None
    assert down.detail.startswith("the request failed: ")
    monkeypatch.setattr(sending, "_TOTAL_S", 0.2)
    receiver.may_answer.clear()
    assert send(make_claim(receiver.url)) == Answer(None, "there was no answer within 0.2 s")


def test_a_receiver_that_accepts_no_connection_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # the only one that may wait
            answer = send(make_claim(f"http://127.0.0.1:{port}/"))
    assert answer == Answer(None, "the request failed: ConnectTimeout")


def test_a_name_that_does_not_exist_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: Any, **_options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    answer = send(make_claim("https://nowhere.example/"))
    assert answer.detail == "the request failed: [Errno -2] Name or service not known"


def test_while_a_secret_is_replaced_either_one_verifies(receiver: Receiver) -> None:
    assert send(make_claim(receiver.url, OTHER)).is_accepted
    (request,) = receiver.received
    assert verify(request, SECRET)
    assert verify(request, OTHER)
