"""Webhooks: create, list, change, delete, test; their deliveries: list, send again."""

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Path, Query, Response
from uuid_utils.compat import uuid7

from api.deps import ServicesDep
from api.http.auth import ADMIN
from api.http.paging import Cursors, PageDep
from api.http.problems import BODY, documented
from api.webhooks.destinations import check_url
from shared import schemas
from shared.errors import DeliveryNotFound, InvalidCursor, InvalidWebhookUrl, WebhookNotFound
from shared.store import webhooks
from shared.store.keyset import CreationKey

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], dependencies=[ADMIN])

_CURSORS = Cursors("webhooks", CreationKey)
_DELIVERY_CURSORS = Cursors("deliveries", CreationKey)

WebhookId = Annotated[UUID, Path(description="The webhook's id.")]
DeliveryId = Annotated[UUID, Path(description="The delivery's id: its header `webhook-id`.")]

_EXAMPLES = {
    "all": {"summary": "Every job", "value": {"url": "https://example.org/hook"}},
    "failures": {
        "summary": "Failed training jobs of one queue",
        "value": {
            "url": "https://example.org/alerts",
            "description": "tells the chat",
            "queue": "default",
            "kind": "train",
            "states": ["failed"],
        },
    },
}


_CHANGES = {
    "address": {"summary": "Another address", "value": {"url": "https://example.org/new"}},
    "pause": {"summary": "Send nothing for now", "value": {"paused": True}},
    "all": {"summary": "Jobs of all queues", "value": {"queue": None, "states": ["succeeded", "failed"]}},
}


@router.post("", status_code=201, responses=documented(*BODY, InvalidWebhookUrl))
def create_webhook(
    services: ServicesDep,
    request: Annotated[schemas.WebhookCreate, Body(openapi_examples=_EXAMPLES)],
    response: Response,
) -> schemas.CreatedWebhook:
    """Create a webhook: from now on, its URL gets a signed POST for each matching job that ends.

    Only this response contains the secret, with which the receiver verifies signatures (Standard Webhooks).
    """
    check_url(request.url, allow_private=services.settings.webhooks_allow_private)
    webhook_id, secret = uuid7(), webhooks.draw_secret()
    create = partial(webhooks.create, webhook_id=webhook_id, secret=secret, request=request)
    stored = services.database.write(create)
    response.headers["Cache-Control"] = "no-store"
    return schemas.CreatedWebhook(**stored.model_dump(), secret=secret)


@router.get("", responses=documented(InvalidCursor))
def list_webhooks(services: ServicesDep, query: PageDep) -> schemas.Page[schemas.Webhook]:
    """List the webhooks without their secrets, newest first, with counts of pending and dead deliveries."""
    return _CURSORS.read(services.database, query, webhooks.page)


@router.patch("/{webhook_id}", responses=documented(*BODY, WebhookNotFound, InvalidWebhookUrl))
def update_webhook(
    services: ServicesDep,
    webhook_id: WebhookId,
    request: Annotated[schemas.WebhookUpdate, Body(openapi_examples=_CHANGES)],
) -> schemas.Webhook:
    """Change a webhook's URL or the jobs that it reports, or pause it. Omitted fields stay unchanged.

    Pending deliveries are sent to the present URL. While a webhook is paused, they wait, and none is lost.
    """
    if "url" in request.model_fields_set:
        check_url(request.url, allow_private=services.settings.webhooks_allow_private)
    return services.database.write(partial(webhooks.change, webhook_id=webhook_id, changes=request))


@router.post("/{webhook_id}/rotate-secret", responses=documented(WebhookNotFound))
def rotate_secret(services: ServicesDep, webhook_id: WebhookId, response: Response) -> schemas.CreatedWebhook:
    """Replace a webhook's secret. Only this response contains the new one.

    For a day each delivery has two signatures, by the new secret and by the previous one.
    """
    secret = webhooks.draw_secret()
    rotate = partial(webhooks.rotate_secret, webhook_id=webhook_id, secret=secret)
    response.headers["Cache-Control"] = "no-store"
    return schemas.CreatedWebhook(**services.database.write(rotate).model_dump(), secret=secret)


@router.delete("/{webhook_id}", status_code=204, responses=documented(WebhookNotFound))
def delete_webhook(services: ServicesDep, webhook_id: WebhookId) -> None:
    """Delete a webhook and its deliveries; a delivery that is being sent may still arrive."""
    services.database.write(partial(webhooks.delete, webhook_id=webhook_id))


@router.post("/{webhook_id}/test", status_code=202, responses=documented(WebhookNotFound))
def test_webhook(services: ServicesDep, webhook_id: WebhookId) -> schemas.WebhookDelivery:
    """Send an event of the type `webhook.test`. If it is accepted, a disabled webhook is enabled again."""
    add = partial(webhooks.add_test, webhook_id=webhook_id, delivery_id=uuid7())
    return services.database.write(add)


@router.get("/{webhook_id}/deliveries", responses=documented(WebhookNotFound, InvalidCursor))
def list_deliveries(
    services: ServicesDep,
    query: PageDep,
    webhook_id: WebhookId,
    state: Annotated[
        schemas.DeliveryState | None, Query(description="Only deliveries in this state.")
    ] = None,
) -> schemas.Page[schemas.WebhookDelivery]:
    """List a webhook's deliveries, newest first. Delivered ones are kept for 3 days, dead ones for 30."""
    read = partial(webhooks.deliveries, webhook_id=webhook_id, state=state)
    return _DELIVERY_CURSORS.read(services.database, query, read)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    responses=documented(WebhookNotFound, DeliveryNotFound),
)
def redeliver(
    services: ServicesDep, webhook_id: WebhookId, delivery_id: DeliveryId
) -> schemas.WebhookDelivery:
    """Send a delivery again, at once and with the same id, whatever its state is."""
    again = partial(webhooks.redeliver, webhook_id=webhook_id, delivery_id=delivery_id)
    return services.database.write(again)
