"""Webhooks are created, listed with what their deliveries came to, and deleted with them."""

from base64 import b64decode
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest

from shared.db.engine import Database
from shared.db.tables import Webhook as TableWebhook
from shared.errors import DeliveryNotFound, WebhookNotFound
from shared.schemas import DeliveryState, Webhook, WebhookCreate, WebhookUpdate
from shared.store import outbox, webhooks
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import cancelled
from tests.support.registry import webhook, webhook_test


def listed(database: Database) -> list[Webhook]:
    return [hook for _, hook in database.read(partial(webhooks.page, limit=10))]


def states(database: Database, hook: Webhook) -> list[DeliveryState]:
    rows = database.read(lambda session: webhooks.deliveries(session, hook.id, limit=10))
    return [delivery.state for _, delivery in rows]


def end_one(database: Database, hook: Webhook, *, dead: bool) -> None:
    """Claim a delivery, and record that it was accepted, or that the receiver wants no more."""
    (claimed,) = database.write(lambda session: outbox.claim(session, hook.id, limit=1))
    if dead:
        database.write(lambda session: outbox.gone(session, claimed.delivery, "the answer is 410"))
    else:
        database.write(lambda session: outbox.accepted(session, claimed.delivery))


def test_a_secret_has_the_form_of_the_specification() -> None:
    secret, other = webhooks.draw_secret(), webhooks.draw_secret()
    prefix, _, key = secret.partition("_")
    assert (prefix, len(b64decode(key, validate=True))) == ("whsec", 32)
    assert secret != other


def test_webhooks_are_listed_newest_first_with_counts(database: Database) -> None:
    webhook(database, "https://example.org/first")
    webhook(database, "https://example.org/second", queue="slow", kind="train", states=["failed"])
    for _ in range(3):
        cancelled(database)
    second, first = listed(database)
    assert (second.queue, second.kind, second.states, second.pending) == ("slow", "train", ("failed",), 0)
    assert (first.pending, first.dead, first.last_delivered_at) == (3, 0, None)
    end_one(database, first, dead=False)
    end_one(database, first, dead=True)

    first = listed(database)[1]

    assert (first.pending, first.dead) == (0, 2)
    assert first.last_delivered_at is not None
    assert first.disabled_at is not None
    assert sorted(states(database, first)) == ["dead", "dead", "delivered"]


def test_creating_a_webhook_is_idempotent(database: Database) -> None:
    request, webhook_id = WebhookCreate(url="https://example.org"), uuid4()
    create = partial(webhooks.create, webhook_id=webhook_id, secret="whsec_1", request=request)
    assert database.write(create) == database.write(create)
    assert len(listed(database)) == 1


def change(database: Database, webhook_id: UUID, **changes: object) -> Webhook:
    request = WebhookUpdate.model_validate(changes)
    return database.write(partial(webhooks.change, webhook_id=webhook_id, changes=request))


def test_only_the_given_fields_are_changed(database: Database) -> None:
    webhook_id = webhook(database, description="chat", queue="slow", kind="train", states=["failed"])
    before = listed(database)[0]

    assert change(database, webhook_id) == before
    changed = change(database, webhook_id, queue=None, states=["failed", "cancelled", "failed"])

    assert changed == before.model_copy(update={"queue": None, "states": ("cancelled", "failed")})
    assert listed(database) == [changed]


def test_a_webhook_is_paused_once_and_resumed(database: Database, clock: FrozenClock) -> None:
    webhook_id, times = webhook(database), []
    for paused in (True, True, False, False):
        request = WebhookUpdate(paused=paused)
        work = partial(webhooks.change, webhook_id=webhook_id, changes=request, now=clock)
        times.append(database.write(work).paused_at)
        clock.advance(1)
    assert times[0] is not None
    assert times == [times[0], times[0], None, None]


def test_another_url_enables_a_webhook(database: Database) -> None:
    webhook_id = webhook(database, "https://example.org/gone")
    webhook_test(database, webhook_id)
    end_one(database, listed(database)[0], dead=True)

    assert change(database, webhook_id, url="https://example.org/gone").disabled_at is not None
    assert change(database, webhook_id, url="https://example.org/new").disabled_at is None


def test_replacing_a_secret_is_idempotent(database: Database, clock: FrozenClock) -> None:
    webhook_id = webhook(database)
    first = database.read(lambda session: session.get_one(TableWebhook, webhook_id).secret)
    rotate = partial(webhooks.rotate_secret, webhook_id=webhook_id, secret="whsec_2", now=clock)

    assert database.write(rotate) == database.write(rotate)

    row = database.read(lambda session: session.get_one(TableWebhook, webhook_id))
    assert (row.secret, row.previous_secret) == ("whsec_2", first)
    assert row.previous_secret_until == clock.moment + timedelta(days=1)


def test_deliveries_are_listed_by_state(database: Database) -> None:
    webhook(database)
    for _ in range(2):
        cancelled(database)
    (hook,) = listed(database)
    end_one(database, hook, dead=False)
    for state in DeliveryState:
        rows = database.read(partial(webhooks.deliveries, webhook_id=hook.id, state=state, limit=9))
        assert [delivery.state for _, delivery in rows] == [state] * (state != DeliveryState.DEAD)


def test_a_deleted_webhook_takes_its_deliveries_with_it(database: Database) -> None:
    webhook_id = webhook(database)
    delivery_id = webhook_test(database, webhook_id)
    database.write(lambda session: webhooks.delete(session, webhook_id))
    assert listed(database) == []
    for gone in (
        lambda session: webhooks.delete(session, webhook_id),
        lambda session: webhooks.change(session, webhook_id, WebhookUpdate()),
        lambda session: webhooks.rotate_secret(session, webhook_id, "whsec_2"),
        lambda session: webhooks.add_test(session, webhook_id),
        lambda session: webhooks.redeliver(session, webhook_id, delivery_id),
        lambda session: webhooks.deliveries(session, webhook_id, limit=1),
    ):
        with pytest.raises(WebhookNotFound, match=str(webhook_id)):
            database.write(gone)


def test_what_was_delivered_or_given_up_is_sent_again_with_its_id(database: Database) -> None:
    webhook_id = webhook(database)
    (hook,) = listed(database)
    for dead in (False, True):
        delivery_id = webhook_test(database, webhook_id)
        end_one(database, hook, dead=dead)
        again = database.write(partial(webhooks.redeliver, webhook_id=webhook_id, delivery_id=delivery_id))
        assert (again.id, again.state, again.attempts) == (delivery_id, DeliveryState.PENDING, 0)
        (claimed,) = database.write(lambda session: outbox.claim(session, webhook_id, limit=9))
        assert (claimed.delivery.id, claimed.delivery.attempts) == (delivery_id, 1)
        database.write(partial(outbox.accepted, sent=claimed.delivery))


def test_another_webhooks_delivery_is_not_found(database: Database) -> None:
    one, other = webhook(database), webhook(database)
    delivery_id = webhook_test(database, other)
    with pytest.raises(DeliveryNotFound, match=str(delivery_id)):
        database.write(lambda session: webhooks.redeliver(session, one, delivery_id))
