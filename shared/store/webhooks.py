"""Webhooks: create, list, change, delete; their deliveries: list, test, send again.

A secret is stored as it is, because it signs each delivery. It is shown once.
"""

import secrets
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared import schemas
from shared.db.clock import Now, database_now
from shared.db.tables import Webhook, WebhookDelivery
from shared.errors import DeliveryNotFound, WebhookNotFound
from shared.schemas import DeliveryState
from shared.store.keyset import CreationKey, newest_first

SECRET_PREFIX = "whsec_"
"""What secrets begin with, by the Standard Webhooks specification; the rest is base64."""

ROTATION_S = 86_400.0
"""Seconds for which a secret that was replaced signs beside the new one."""

_SECRET_BYTES = 32
_TEST = "webhook.test"

IS_IN: Mapping[DeliveryState, ColumnElement[bool]] = {
    DeliveryState.PENDING: WebhookDelivery.delivered_at.is_(None) & WebhookDelivery.dead_at.is_(None),
    DeliveryState.DELIVERED: WebhookDelivery.delivered_at.is_not(None),
    DeliveryState.DEAD: WebhookDelivery.dead_at.is_not(None),
}
"""SQL for whether a delivery is in a state."""


def create(
    session: Session,
    webhook_id: UUID,
    secret: str,
    request: schemas.WebhookCreate,
    *,
    now: Now = database_now,
) -> schemas.Webhook:
    """Store a webhook. Idempotent."""
    row = session.get(Webhook, webhook_id)
    if row is None:
        values = request.model_dump(exclude={"states"})
        states = sorted(set(request.states))
        row = Webhook(id=webhook_id, secret=secret, states=states, created_at=now(), **values)
        session.add(row)
        session.flush()
        session.refresh(row)
    return schemas.Webhook.model_validate(row)


def draw_secret() -> str:
    """Return a new random secret."""
    return SECRET_PREFIX + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def page(
    session: Session, *, after: CreationKey | None = None, limit: int
) -> list[tuple[CreationKey, schemas.Webhook]]:
    """Return up to `limit` webhooks with their sort keys, newest first."""
    rows = newest_first(session, select(Webhook), Webhook, after=after, limit=limit)
    return [(key, _described(session, row)) for key, row in rows]


def _described(session: Session, row: Webhook) -> schemas.Webhook:
    def of_row(column: ColumnElement[Any], state: DeliveryState) -> object:
        return session.scalar(select(column).where(WebhookDelivery.webhook_id == row.id, IS_IN[state]))

    found = {
        "pending": of_row(func.count(), DeliveryState.PENDING),
        "dead": of_row(func.count(), DeliveryState.DEAD),
        "last_delivered_at": of_row(func.max(WebhookDelivery.delivered_at), DeliveryState.DELIVERED),
    }
    return schemas.Webhook.model_validate(row).model_copy(update=found)


def change(
    session: Session, webhook_id: UUID, changes: schemas.WebhookUpdate, *, now: Now = database_now
) -> schemas.Webhook:
    """Change a webhook. What is pending is sent to the present URL; another URL enables it. Idempotent.

    Raises:
        WebhookNotFound: there is no such webhook.
    """
    row, values = _get(session, webhook_id), changes.model_dump(exclude_unset=True)
    if "states" in values:
        values["states"] = sorted(set(values["states"]))
    if values.pop("paused", row.paused_at is not None) != (row.paused_at is not None):
        values["paused_at"] = None if row.paused_at else now()
    if values.get("url", row.url) != row.url:
        values["disabled_at"] = None
    for name, value in values.items():
        setattr(row, name, value)
    session.flush()
    session.refresh(row)
    return _described(session, row)


def rotate_secret(
    session: Session, webhook_id: UUID, secret: str, *, now: Now = database_now
) -> schemas.Webhook:
    """Replace a webhook's secret; the one before signs too for `ROTATION_S`. Idempotent for one `secret`.

    Raises:
        WebhookNotFound: there is no such webhook.
    """
    row = _get(session, webhook_id)
    if row.secret != secret:
        row.secret, row.previous_secret = secret, row.secret
        row.previous_secret_until = now(ROTATION_S)
        session.flush()
        session.refresh(row)
    return _described(session, row)


def delete(session: Session, webhook_id: UUID) -> None:
    """Delete a webhook and all its deliveries.

    Raises:
        WebhookNotFound: there is no such webhook.
    """
    session.delete(_get(session, webhook_id))


def deliveries(
    session: Session,
    webhook_id: UUID,
    state: DeliveryState | None = None,
    *,
    after: CreationKey | None = None,
    limit: int,
) -> list[tuple[CreationKey, schemas.WebhookDelivery]]:
    """Return up to `limit` deliveries of a webhook with their sort keys, newest first.

    Raises:
        WebhookNotFound: there is no such webhook.
    """
    _get(session, webhook_id)
    found = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
    if state is not None:
        found = found.where(IS_IN[state])
    rows = newest_first(session, found, WebhookDelivery, after=after, limit=limit)
    return [(key, _as_schema(row)) for key, row in rows]


def add_test(
    session: Session, webhook_id: UUID, delivery_id: UUID | None = None, *, now: Now = database_now
) -> schemas.WebhookDelivery:
    """Store a delivery that tells of no job. Idempotent for one `delivery_id`.

    Raises:
        WebhookNotFound: there is no such webhook.
    """
    _get(session, webhook_id)
    delivery_id = delivery_id or uuid7()
    row = session.get(WebhookDelivery, delivery_id)
    if row is None:
        at = session.scalar(select(now()))
        row = WebhookDelivery(
            id=delivery_id, webhook_id=webhook_id, created_at=at, next_at=at, attempts=0, tags=None
        )
        session.add(row)
        session.flush()
    return _as_schema(row)


def redeliver(
    session: Session, webhook_id: UUID, delivery_id: UUID, *, now: Now = database_now
) -> schemas.WebhookDelivery:
    """Have a delivery sent again, now, with the same id. One that has ended gets all its attempts again.

    Raises:
        WebhookNotFound, DeliveryNotFound: there is no such webhook, or it has no such delivery.
    """
    _get(session, webhook_id)
    has_ended = ~IS_IN[DeliveryState.PENDING]
    changed = session.scalars(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == webhook_id)
        .values(
            next_at=now(),
            attempts=case((has_ended, 0), else_=WebhookDelivery.attempts),
            delivered_at=None,
            dead_at=None,
        )
        .returning(WebhookDelivery)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if changed is None:
        raise DeliveryNotFound(f"webhook {webhook_id} has no delivery {delivery_id}")
    return _as_schema(changed)


def event_type(row: WebhookDelivery) -> str:
    """Return the type of a delivery's event, such as `job.succeeded`."""
    return _TEST if row.state is None else f"job.{row.state}"


def _get(session: Session, webhook_id: UUID) -> Webhook:
    row = session.get(Webhook, webhook_id)
    if row is None:
        raise WebhookNotFound(f"there is no webhook {webhook_id}")
    return row


def _as_schema(row: WebhookDelivery) -> schemas.WebhookDelivery:
    ended = DeliveryState.DEAD if row.dead_at else DeliveryState.DELIVERED if row.delivered_at else None
    return schemas.WebhookDelivery(
        id=row.id,
        webhook_id=row.webhook_id,
        type=event_type(row),
        job_id=row.job_id,
        state=ended or DeliveryState.PENDING,
        created_at=row.created_at,
        attempts=row.attempts,
        next_at=None if ended else row.next_at,
        delivered_at=row.delivered_at,
        dead_at=row.dead_at,
        last_error=row.last_error,
    )
