"""What tests store beside jobs: workers, pauses of queues, API keys, webhooks, and models' aliases."""

from functools import partial
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.schemas import ModelPatch, Scope, WebhookCreate
from shared.store import api_keys, models, queues, webhooks, workers
from shared.store.api_keys import NewApiKey as NewApiKey
from tests.support.factories import make_worker


def worker(database: Database, **overrides: Any) -> str:
    """Store a worker and return its id."""
    row = make_worker(**overrides)
    database.write(lambda session: session.add(row))
    return row.id


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


def api_key(database: Database, name: str = "Ada", scope: Scope = Scope.READ, **options: Any) -> NewApiKey:
    """Store a new API key, with options of `api_keys.create`, and return it: `str()` is its text."""
    key = NewApiKey.draw()
    database.write(partial(api_keys.create, key=key, name=name, scope=scope, **options))
    return key


def revoke(database: Database, key: NewApiKey) -> None:
    """Revoke an API key."""
    database.write(partial(api_keys.revoke, key_id=key.id))


def webhook(database: Database, url: str = "https://example.org/hook", **overrides: Any) -> UUID:
    """Store a webhook and return its id."""
    request, webhook_id = WebhookCreate.model_validate({"url": url, **overrides}), uuid7()
    create = partial(webhooks.create, request=request, secret=webhooks.draw_secret())
    database.write(lambda session: create(session, webhook_id))
    return webhook_id


def webhook_test(database: Database, webhook_id: UUID) -> UUID:
    """Store a test of a webhook and return the delivery's id."""
    return database.write(lambda session: webhooks.add_test(session, webhook_id)).id


def give_alias(database: Database, model_id: UUID, alias: str) -> None:
    """Give an alias to a model."""
    database.write(partial(models.patch, reference=model_id, changes=ModelPatch(alias=alias)))


def delete_model(database: Database, model_id: UUID) -> None:
    """Delete a model."""
    database.write(partial(models.delete_model, reference=model_id))
