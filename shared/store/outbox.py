"""The outbox of webhooks: deliveries that are due, their claims by senders, and the results.

The trigger `jobs_ended` inserts a delivery for each webhook that matches the end of a job, in the transaction
that ends the job. A sender claims a delivery for `LEASE_S`: if the sender is killed, another one sends the
delivery afterwards. The number of the attempt fences the results that a sender records.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, func, select, type_coerce, update
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.tables import UtcDateTime, Webhook, WebhookDelivery
from shared.schemas import DeliveryState
from shared.store.webhooks import IS_IN
from shared.texts import storable

LEASE_S = 30.0
"""Seconds after which a claimed delivery whose result was not recorded is sent again."""

RETRY_S = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds between the attempts, as the Standard Webhooks specification suggests; a further failure makes the
delivery dead."""

KEEP_DELIVERED_S = 3 * 86_400.0
"""Seconds for which a delivery is listed after it was accepted."""
KEEP_DEAD_S = 30 * 86_400.0
"""Seconds for which a delivery is listed after it was given up."""

_MAX_ERROR = 500  # characters of `last_error`
_PENDING = IS_IN[DeliveryState.PENDING]
_IS_TEST = WebhookDelivery.job_id.is_(None)  # a test is sent even if its webhook is paused


class Outcome(StrEnum):
    """The outcome of an attempt to deliver; a delivery is given up after its last attempt."""

    ACCEPTED = "accepted"
    FAILED = "failed"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class Claimed:
    """A delivery that this process is to send now, with its webhook's address and, newest first, secrets."""

    delivery: WebhookDelivery
    url: str
    secrets: tuple[str, ...]

    @property
    def claimed_at(self) -> datetime:
        """The time of the claim, by the database's clock."""
        return self.delivery.next_at - timedelta(seconds=LEASE_S)

    def __repr__(self) -> str:
        return f"Claimed(delivery={self.delivery.id}, attempt={self.delivery.attempts})"


def due(session: Session, *, now: Now = database_now) -> list[UUID]:
    """Return the ids of the webhooks that have deliveries to be sent now."""
    may_be_sent = Webhook.paused_at.is_(None) | _IS_TEST
    is_due = exists().where(WebhookDelivery.webhook_id == Webhook.id, _is_due(now), may_be_sent)
    return list(session.scalars(select(Webhook.id).where(is_due)))


def has_old(session: Session, *, now: Now = database_now) -> list[UUID]:
    """Return the ids of the webhooks that have deliveries past their retention."""
    is_old = exists().where(WebhookDelivery.webhook_id == Webhook.id, _ended_long_ago(now))
    return list(session.scalars(select(Webhook.id).where(is_old)))


def claim(session: Session, webhook_id: UUID, *, limit: int, now: Now = database_now) -> list[Claimed]:
    """Claim up to `limit` deliveries of a webhook that are due, the longest due first."""
    webhook = session.get(Webhook, webhook_id)
    if webhook is None:
        return []
    only = [_IS_TEST] if webhook.paused_at else []
    chosen = (
        select(WebhookDelivery.id)
        .where(WebhookDelivery.webhook_id == webhook_id, _is_due(now), *only)
        .order_by(WebhookDelivery.next_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    # two statements: PostgreSQL may run a subquery with a LIMIT several times, and claim more than `limit`
    ids = session.scalars(chosen).all()
    rows = session.scalars(
        update(WebhookDelivery)
        .where(WebhookDelivery.id.in_(ids))
        .values(attempts=WebhookDelivery.attempts + 1, next_at=now(LEASE_S))
        .returning(WebhookDelivery)
    )
    return [
        Claimed(row, webhook.url, _secrets(webhook, row.next_at - timedelta(seconds=LEASE_S))) for row in rows
    ]


def _is_due(now: Now) -> ColumnElement[bool]:
    return _PENDING & (WebhookDelivery.next_at <= now())


def _secrets(webhook: Webhook, at: datetime) -> tuple[str, ...]:
    until = webhook.previous_secret_until
    if webhook.previous_secret and until and at < until:
        return webhook.secret, webhook.previous_secret
    return (webhook.secret,)


class Backlog(NamedTuple):
    """The pending deliveries of all webhooks that are not paused.

    Attributes:
        pending: their number.
        oldest_s: the age of the oldest of them in seconds; 0 if there is none.
    """

    pending: int
    oldest_s: float


def backlog(session: Session, *, now: Now = database_now) -> Backlog:
    """Return the number of pending deliveries and the age of the oldest."""
    measures = (func.count(), func.min(WebhookDelivery.created_at), type_coerce(now(), UtcDateTime()))
    pending = select(*measures).join(Webhook).where(_PENDING, Webhook.paused_at.is_(None))
    count, oldest, at = session.execute(pending).one()
    return Backlog(count, 0.0 if oldest is None else max(0.0, (at - oldest).total_seconds()))


class Waiting(NamedTuple):
    """A pending delivery: its age in seconds, the number of attempts, and the error of the last attempt."""

    age_s: float
    attempts: int
    last_error: str | None


def oldest_pending(session: Session, webhook_id: UUID, *, now: Now = database_now) -> Waiting | None:
    """Return the oldest pending delivery of a webhook, or None if there is none."""
    pending = (
        select(WebhookDelivery, type_coerce(now(), UtcDateTime()))
        .where(WebhookDelivery.webhook_id == webhook_id, _PENDING)
        .order_by(WebhookDelivery.created_at)
        .limit(1)
    )
    row = session.execute(pending).one_or_none()
    if row is None:
        return None
    delivery, at = row
    return Waiting((at - delivery.created_at).total_seconds(), delivery.attempts, delivery.last_error)


def accepted(session: Session, sent: WebhookDelivery, *, now: Now = database_now) -> None:
    """Record that a receiver has accepted a delivery; a disabled webhook is enabled again."""
    if _record(session, sent, delivered_at=now(), last_error=None):
        enabled = update(Webhook).where(Webhook.id == sent.webhook_id, Webhook.disabled_at.is_not(None))
        session.execute(enabled.values(disabled_at=None))


def refused(
    session: Session, sent: WebhookDelivery, error: str, *, jitter: float, now: Now = database_now
) -> bool:
    """Record that an attempt has failed: the delivery is sent again later, or given up after the last one.

    Args:
        jitter: the factor by which the time until the next attempt is multiplied.

    Returns:
        Whether the delivery was given up.
    """
    values = {"last_error": storable(error)[:_MAX_ERROR]}
    if sent.attempts > len(RETRY_S):
        return _record(session, sent, dead_at=now(), **values)
    _record(session, sent, next_at=now(RETRY_S[sent.attempts - 1] * jitter), **values)
    return False


def gone(session: Session, sent: WebhookDelivery, error: str, *, now: Now = database_now) -> int:
    """Record that a receiver wants no more deliveries: disable its webhook, give up the pending deliveries.

    Returns:
        The number of deliveries that were given up.
    """
    # the webhook first, in the order in which its deletion locks
    session.execute(update(Webhook).where(Webhook.id == sent.webhook_id).values(disabled_at=now()))
    given_up = session.scalars(
        update(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == sent.webhook_id, _PENDING)
        .values(dead_at=now(), last_error=storable(error)[:_MAX_ERROR])
        .returning(WebhookDelivery.id)
    )
    return len(given_up.all())


def purge(session: Session, webhook_id: UUID, *, limit: int, now: Now = database_now) -> int:
    """Delete up to `limit` deliveries of a webhook that are past their retention; return their number."""
    old = (
        select(WebhookDelivery.id)
        .where(WebhookDelivery.webhook_id == webhook_id, _ended_long_ago(now))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = session.scalars(old).all()
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.id.in_(ids)))
    return len(ids)


def _ended_long_ago(now: Now) -> ColumnElement[bool]:
    was_delivered = WebhookDelivery.delivered_at < now(-KEEP_DELIVERED_S)
    return was_delivered | (WebhookDelivery.dead_at < now(-KEEP_DEAD_S))


def _record(session: Session, sent: WebhookDelivery, **values: object) -> bool:
    """Record the outcome of an attempt unless a later one was made; return whether it was recorded."""
    changed = session.scalar(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == sent.id, WebhookDelivery.attempts == sent.attempts, _PENDING)
        .values(**values)
        .returning(WebhookDelivery.id)
        .execution_options(synchronize_session=False)
    )
    return changed is not None
