"""What tests store beside jobs: workers, pauses of queues, API keys, webhooks, and models' aliases."""

from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import update
from uuid_utils.compat import uuid7

from shared.db.clock import database_now
from shared.db.engine import Database
from shared.db.tables import WebhookDelivery, Worker
from shared.schemas import ModelPatch, Scope, WebhookCreate, WebhookUpdate
from shared.store import api_keys, models, outbox, queues, webhooks, workers
from shared.store.api_keys import NewApiKey as NewApiKey
from tests.support import stored
from tests.support.factories import make_worker


def worker(database: Database, **overrides: Any) -> str:
    """Store a worker and return its id."""
    row = make_worker(**overrides)
    database.write(lambda session: session.add(row))
    return row.id


def silence(database: Database, worker_id: str, for_s: float) -> None:
    """Let a worker's last heartbeat be some seconds ago."""
    silent = update(Worker).where(Worker.id == worker_id).values(heartbeat_at=database_now(-for_s))
    database.write(lambda session: session.execute(silent))


def drain(database: Database, worker_id: str) -> None:
    """Let a worker finish its jobs and take no more."""
    database.write(partial(workers.drain, worker_id=worker_id))


def undrain(database: Database, worker_id: str) -> None:
    """Let a draining worker take jobs again."""
    database.write(partial(workers.undrain, worker_id=worker_id))


def pause(database: Database, queue: str) -> None:
    """Pause a queue: its jobs wait."""
    database.write(partial(queues.pause, queue=queue))


def resume(database: Database, queue: str) -> None:
    """Resume a paused queue."""
    database.write(partial(queues.resume, queue=queue))


def api_key(
    database: Database,
    name: str = "Ada",
    scope: Scope = Scope.READ,
    *,
    key: NewApiKey | None = None,
    **options: Any,
) -> NewApiKey:
    """Store an API key, by default a new one, and return it: `str()` is its text."""
    key = key or NewApiKey.draw()
    database.write(partial(api_keys.create, key=key, name=name, scope=scope, **options))
    return key


def revoke(database: Database, key_id: UUID) -> None:
    """Revoke an API key."""
    database.write(partial(api_keys.revoke, key_id=key_id))


def key_id(text: str) -> UUID:
    """Return the id of the API key with this text."""
    key = api_keys.parse(text)
    assert key is not None
    return key.id


def is_valid(database: Database, key: NewApiKey) -> bool:
    """Return whether an API key is known, neither revoked nor expired."""
    return database.read(partial(api_keys.find, key=key)) is not None


def webhook(database: Database, url: str = "https://example.org/hook", **overrides: Any) -> UUID:
    """Store a webhook and return its id."""
    request, webhook_id = WebhookCreate.model_validate({"url": url, **overrides}), uuid7()
    create = partial(webhooks.create, request=request, secret=webhooks.draw_secret())
    database.write(lambda session: create(session, webhook_id))
    return webhook_id


def change_webhook(database: Database, webhook_id: UUID, **changes: Any) -> None:
    """Change a webhook."""
    request = WebhookUpdate.model_validate(changes)
    database.write(partial(webhooks.change, webhook_id=webhook_id, changes=request))


def webhook_test(database: Database, webhook_id: UUID) -> UUID:
    """Store a test of a webhook and return the delivery's id."""
    return database.write(lambda session: webhooks.add_test(session, webhook_id)).id


def set_deliveries(database: Database, **values: Any) -> None:
    """Overwrite columns of all deliveries."""
    database.write(lambda session: session.execute(update(WebhookDelivery).values(**values)))


def give_up(database: Database, error: str = "the answer is 410 Gone") -> UUID:
    """Have the receiver of the only delivery answer that it is gone; return the delivery's id."""
    [delivery] = stored.deliveries(database)
    database.write(partial(outbox.gone, sent=delivery, error=error))
    return delivery.id


def change_model(database: Database, model_id: UUID, **changes: Any) -> None:
    """Change a model's alias or description."""
    request = ModelPatch.model_validate(changes)
    database.write(partial(models.patch, reference=model_id, changes=request))


def delete_model(database: Database, model_id: UUID) -> None:
    """Delete a model."""
    database.write(partial(models.delete_model, reference=model_id))
