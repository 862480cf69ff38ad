"""One attempt to deliver: the body, its signature by the Standard Webhooks specification, and the POST."""

import asyncio
import hmac
import json
import logging
from base64 import b64decode, b64encode
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import httpx
from anyio import CapacityLimiter

from api.webhooks.destinations import check_url, resolve
from shared.db.tables import WebhookDelivery
from shared.errors import InvalidWebhookUrl
from shared.settings import Settings
from shared.store.outbox import Claimed
from shared.store.webhooks import SECRET_PREFIX, event_type

_CONNECT_S = 5.0
_TOTAL_S = 10.0
_MAX_RESOLVING = 256  # one thread for each delivery being sent, so that a slow name delays no other


@dataclass(frozen=True)
class Answer:
    """The result of an attempt.

    Attributes:
        status: the HTTP status of the response; None if there was no response.
        detail: a description for people.
    """

    status: int | None
    detail: str

    @property
    def is_accepted(self) -> bool:
        """Whether the receiver has accepted the delivery."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants no more deliveries."""
        return self.status == HTTPStatus.GONE


class Sender:
    """The sender of single deliveries, without redirects, proxies or reuse of connections.

    The client would reuse connections by address, and several names may have the same address.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare to send; the HTTP client is created at the first delivery."""
        self._allow_private = settings.webhooks_allow_private
        self._base_url = settings.url.rstrip("/")
        self._client: httpx.AsyncClient | None = None
        self._threads = CapacityLimiter(_MAX_RESOLVING)
        # httpx logs each request's URL, which may contain a token
        logging.getLogger("httpx").setLevel(logging.WARNING)

    async def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.aclose()

    async def send(self, claimed: Claimed) -> Answer:
        """Send a delivery once, and return the result; failures of the receiver are not raised."""
        try:
            async with asyncio.timeout(_TOTAL_S):
                return await self._send(claimed)
        except TimeoutError:
            return Answer(None, f"there was no answer within {_TOTAL_S:g} s")
        except InvalidWebhookUrl as error:
            return Answer(None, str(error))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            return Answer(None, f"the request failed: {str(error) or type(error).__name__}")

    async def _send(self, claimed: Claimed) -> Answer:
        url = check_url(claimed.url, allow_private=self._allow_private)
        body = body_of(claimed.delivery, self._base_url)
        headers = {**headers_of(claimed, body), "Host": url.netloc.decode("ascii")}
        addresses = await resolve(url, allow_private=self._allow_private, threads=self._threads)
        for address in addresses[:-1]:
            try:
                return await self._post(url, address, headers, body)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._post(url, addresses[-1], headers, body)

    async def _post(self, url: httpx.URL, address: str, headers: dict[str, str], body: bytes) -> Answer:
        client = self._client = self._client or httpx.AsyncClient(
            timeout=httpx.Timeout(_TOTAL_S, connect=_CONNECT_S),
            limits=httpx.Limits(max_keepalive_connections=0),
            follow_redirects=False,
            trust_env=False,
        )
        at_address = url.copy_with(host=address)
        # the certificate must be valid for the name, not for the address
        extensions = {"sni_hostname": url.host}
        async with client.stream(
            "POST", at_address, headers=headers, content=body, extensions=extensions
        ) as response:
            return Answer(response.status_code, _explained(response))  # the response's body is not read


def _explained(response: httpx.Response) -> str:
    explained = f"the answer is {response.status_code} {response.reason_phrase}".rstrip()
    return f"{explained}: redirects are not followed" if response.has_redirect_location else explained


def headers_of(claimed: Claimed, body: bytes) -> dict[str, str]:
    """Return the headers of an attempt, with its time by the database's clock."""
    message_id, sent_at = str(claimed.delivery.id), int(claimed.claimed_at.timestamp())
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Trainshed/{version('trainshed')}",
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": " ".join(
            signature(secret, message_id, sent_at, body) for secret in claimed.secrets
        ),
    }


def signature(secret: str, message_id: str, sent_at: int, body: bytes) -> str:
    """Return `v1,` and the HMAC-SHA256 of the id, the time in seconds and the body, joined by dots."""
    key = b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{sent_at}.".encode() + body
    return "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode()


def body_of(delivery: WebhookDelivery, base_url: str) -> bytes:
    """Return the body of a delivery, the same in each attempt.

    Args:
        base_url: the beginning of the URLs in the body; if empty, they are paths of the API.
    """
    is_test = delivery.job_id is None
    event = {
        "type": event_type(delivery),
        "timestamp": delivery.created_at.isoformat(),
        "data": {"webhook_id": str(delivery.webhook_id)} if is_test else _job(delivery, base_url),
    }
    return json.dumps(event, separators=(",", ":")).encode()


def _job(delivery: WebhookDelivery, base_url: str) -> dict[str, Any]:
    error = {"code": delivery.error_code, "message": delivery.error_message} if delivery.error_code else None
    urls = {"job": f"{base_url}/v1/jobs/{delivery.job_id}", "page": f"{base_url}/jobs/{delivery.job_id}"}
    if delivery.model_id:
        urls["model"] = f"{base_url}/v1/models/{delivery.model_id}"
    return {
        "id": str(delivery.job_id),
        "name": delivery.name,
        "kind": delivery.kind,
        "state": delivery.state,
        "queue": delivery.queue,
        "tags": delivery.tags,
        "error": error,
        "values": delivery.last_values or {},
        "duration_s": delivery.duration_s,
        "model_id": str(delivery.model_id) if delivery.model_id else None,
        "urls": urls,
    }
