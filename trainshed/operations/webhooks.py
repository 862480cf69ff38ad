"""Operations on webhooks and their deliveries."""

from collections.abc import Sequence
from typing import Any, Unpack
from uuid import UUID

from shared import schemas
from shared.schemas import Page, WebhookCreate, WebhookUpdate
from trainshed.items import AsyncItems
from trainshed.operations.base import Operations, to_json, valid, without_none
from trainshed.operations.fields import AnyDeliveryState, AnyEndState, AnyKind, WebhookChanges


class Webhooks(Operations):
    """Webhooks: notifications of ended jobs."""

    async def create_webhook(
        self,
        url: str,
        *,
        description: str | None = None,
        queue: str | None = None,
        kind: AnyKind | None = None,
        states: Sequence[AnyEndState] | None = None,
    ) -> schemas.CreatedWebhook:
        """Create a webhook, which sends a signed POST to a URL for each job that ends. Not idempotent.

        The filters are a queue, a kind of job, and the states in which jobs end; None admits all. Only this
        answer has the secret, with which the receiver verifies signatures.
        """
        filters = without_none(description=description, queue=queue, kind=kind, states=states)
        request = valid(WebhookCreate, {"url": url, **filters})
        return await self._request(schemas.CreatedWebhook, "POST", "/v1/webhooks", json=to_json(request))

    async def webhooks(self) -> tuple[schemas.Webhook, ...]:
        """Return the webhooks without their secrets, newest first."""
        return tuple([hook async for hook in self._items(Page[schemas.Webhook], "/v1/webhooks")])

    async def change_webhook(self, webhook_id: UUID, **changes: Unpack[WebhookChanges]) -> schemas.Webhook:
        """Change a webhook's URL, description or filters, or whether it is `paused`: then deliveries wait."""
        change = to_json(valid(WebhookUpdate, changes))
        return await self._request(schemas.Webhook, "PATCH", f"/v1/webhooks/{webhook_id}", json=change)

    async def rotate_webhook_secret(self, webhook_id: UUID) -> schemas.CreatedWebhook:
        """Replace a webhook's secret and return it with the new one. Not idempotent.

        For a day each delivery is also signed with the previous secret.
        """
        path = f"/v1/webhooks/{webhook_id}/rotate-secret"
        return await self._request(schemas.CreatedWebhook, "POST", path)

    async def delete_webhook(self, webhook_id: UUID) -> None:
        """Delete a webhook and its deliveries."""
        await self._connection.call("DELETE", f"/v1/webhooks/{webhook_id}")

    async def test_webhook(self, webhook_id: UUID) -> schemas.WebhookDelivery:
        """Send an event of the type `webhook.test`; `webhook_deliveries` shows the outcome."""
        path = f"/v1/webhooks/{webhook_id}/test"
        return await self._request(schemas.WebhookDelivery, "POST", path)

    def webhook_deliveries(
        self, webhook_id: UUID, state: AnyDeliveryState | None = None
    ) -> AsyncItems[schemas.WebhookDelivery]:
        """Iterate over the deliveries of a webhook, the newest first: all, or those in one state."""
        query: dict[str, Any] = {} if state is None else {"state": state}
        path = f"/v1/webhooks/{webhook_id}/deliveries"
        return AsyncItems(self._items(Page[schemas.WebhookDelivery], path, **query))

    async def redeliver(self, webhook_id: UUID, delivery_id: UUID) -> schemas.WebhookDelivery:
        """Send a delivery again, at once and with the same id."""
        path = f"/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"
        return await self._request(schemas.WebhookDelivery, "POST", path)
