"""Operations on workers, queues and API keys."""

from typing import NamedTuple
from urllib.parse import quote
from uuid import UUID

from pydantic import ValidationError

from shared import schemas
from shared.schemas import Page
from trainshed.items import AsyncItems
from trainshed.operations.base import Operations, to_json, valid


class Health(NamedTuple):
    """The health that a server reports.

    Attributes:
        ready: whether the server serves requests.
        lacks: the missing services and the remedies, for people; empty if nothing is missing. Without Redis
            the server is ready, but jobs start late, or wait.
    """

    ready: bool
    lacks: str


class Workers(Operations):
    """Workers and queues."""

    async def workers(self) -> tuple[schemas.Worker, ...]:
        """Return the workers, the last seen first."""
        return tuple([worker async for worker in self._items(Page[schemas.Worker], "/v1/workers")])

    def worker_attempts(self, worker_id: str) -> AsyncItems[schemas.WorkerAttempt]:
        """Iterate over the attempts of a worker to run jobs, the last started first."""
        path = f"/v1/workers/{_quoted(worker_id)}/attempts"
        return AsyncItems(self._items(Page[schemas.WorkerAttempt], path))

    async def drain(self, worker_id: str) -> schemas.Worker:
        """Let a worker finish its running jobs and take no more."""
        return await self._request(schemas.Worker, "POST", f"/v1/workers/{_quoted(worker_id)}/drain")

    async def undrain(self, worker_id: str) -> schemas.Worker:
        """Let a drained worker take jobs again."""
        return await self._request(schemas.Worker, "POST", f"/v1/workers/{_quoted(worker_id)}/undrain")

    async def queues(self) -> tuple[schemas.Queue, ...]:
        """Return the queues, by name."""
        return tuple([queue async for queue in self._items(Page[schemas.Queue], "/v1/queues")])

    async def tenants(self, queue: str) -> tuple[schemas.TenantLoad, ...]:
        """Return up to 100 tenants of a queue, those with the most waiting jobs first."""
        return (await self._get(schemas.QueueTenants, f"/v1/queues/{_quoted(queue)}/tenants")).data

    async def pause(self, queue: str) -> schemas.Queue:
        """Stop starting jobs of a queue; running jobs continue."""
        return await self._request(schemas.Queue, "POST", f"/v1/queues/{_quoted(queue)}/pause")

    async def resume(self, queue: str) -> schemas.Queue:
        """Start a paused queue's jobs again."""
        return await self._request(schemas.Queue, "POST", f"/v1/queues/{_quoted(queue)}/resume")

    async def limit_queue(self, queue: str, max_running: int | None) -> schemas.Queue:
        """Let at most `max_running` jobs of a queue run at the same time; None removes the limit."""
        change = valid(schemas.QueueUpdate, {"max_running": max_running})
        return await self._request(
            schemas.Queue, "PATCH", f"/v1/queues/{_quoted(queue)}", json=to_json(change)
        )


class Administration(Operations):
    """API keys and health."""

    async def me(self) -> schemas.Me:
        """Return the identity and scope that the server sees for this client."""
        return await self._get(schemas.Me, "/v1/me")

    async def create_api_key(self, key: schemas.ApiKeyCreate) -> schemas.CreatedApiKey:
        """Create an API key. Not idempotent: a retry may leave an unused key behind."""
        return await self._request(schemas.CreatedApiKey, "POST", "/v1/api-keys", json=to_json(key))

    async def api_keys(self) -> tuple[schemas.ApiKey, ...]:
        """Return the API keys without their secrets, newest first."""
        return tuple([key async for key in self._items(Page[schemas.ApiKey], "/v1/api-keys")])

    async def change_api_key(self, key_id: UUID, changes: schemas.ApiKeyUpdate) -> schemas.ApiKey:
        """Change the weight of a key's later jobs, the limit of its running jobs, or its rights."""
        return await self._request(schemas.ApiKey, "PATCH", f"/v1/api-keys/{key_id}", json=to_json(changes))

    async def revoke_api_key(self, key_id: UUID) -> None:
        """Revoke an API key, at once and for good."""
        await self._connection.call("DELETE", f"/v1/api-keys/{key_id}")

    async def health(self) -> Health:
        """Return the server's health, by one request, which never raises."""
        url = self._connection.url
        response = await self._connection.probe("/readyz")
        if response is None:
            return Health(ready=False, lacks=f"{url} does not respond")
        try:
            checks = schemas.Readiness.model_validate_json(response.content).checks
        except ValidationError:
            return Health(ready=False, lacks=f"{url} is not ready")
        lacks = "; ".join(check.detail for check in checks.values() if not check.ok)
        return Health(ready=response.is_success, lacks=lacks)


def _quoted(name: str) -> str:
    return quote(name, safe="")
