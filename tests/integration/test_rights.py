"""Each operation of the API with each kind of key: the table of `docs/rights.md`."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.schemas import Scope
from tests.contract.world import World, populate
from tests.support import factories, queue_driver, registry, rights_page
from tests.support.registry import NewApiKey
from tests.support.rights_page import KEYS

_URL = "https://example.invalid/"
_SCOPES = {"read": Scope.READ, "admin": Scope.ADMIN}
_TEAMS = {"others' submit": "speech", "team's submit": "vision", "own submit": "vision"}
_PIXEL = {"images": [[[0.0] * 28] * 28]}


class _Stored:
    """What a request finds, all of it submitted by the key `own submit`; what it changes is new each time."""

    def __init__(self, database: Database, world: World, keys: dict[str, NewApiKey]) -> None:
        self._database, self.world, self.keys = database, world, keys

    @property
    def _own_id(self) -> UUID:
        return self.keys["own submit"].id

    def queued(self) -> UUID:
        return queue_driver.submit(self._database, key_id=self._own_id)

    def finished(self) -> UUID:
        return queue_driver.cancelled(self._database, key_id=self._own_id)

    def model(self) -> UUID:
        attempt, model = queue_driver.running(self._database, key_id=self._own_id), factories.make_model()
        queue_driver.succeed(self._database, attempt, model)
        return model.id

    def sweep(self) -> UUID:
        return queue_driver.submit_sweep(self._database, key_id=self._own_id, seed=[1, 2])[0]

    def webhook(self) -> UUID:
        return registry.webhook(self._database, _URL)

    def delivery(self) -> str:
        webhook_id = self.webhook()
        delivery_id = registry.webhook_test(self._database, webhook_id)
        return f"/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"

    def worker(self) -> str:
        return registry.worker(self._database, id=f"worker {uuid7()}")

    def key(self) -> UUID:
        return registry.api_key(self._database, "a key of nobody").id


Recipe = Callable[[_Stored], tuple[str, Any]]


def _read(path: str, **query: Any) -> Recipe:
    """Read what is there for all: a trained job and its model, by their ids."""

    def recipe(stored: _Stored) -> tuple[str, Any]:
        job, model = stored.world.job_id[0], stored.world.model_id[0]
        params = {name: value(stored) if callable(value) else value for name, value in query.items()}
        return path.format(job_id=job, model_id=model), {"params": params}

    return recipe


def _on(path: str, make: Callable[[_Stored], object] | None = None, **arguments: Any) -> Recipe:
    """Request a path that names what is made for this request."""
    return lambda stored: (path.format(make(stored) if make else ""), arguments)


_TRAINING = {"kind": "train", "spec": {"dataset": "digits", "epochs": 1}}
_SWEEP = {"strategy": "grid", "parameters": {"seed": [1]}, "spec": {"dataset": "digits", "epochs": 1}}

RECIPES: dict[str, Recipe] = {
    "POST /v1/jobs": _on("/v1/jobs", json=_TRAINING),
    "GET /v1/jobs": _read("/v1/jobs"),
    "GET /v1/jobs/{job_id}": _read("/v1/jobs/{job_id}"),
    "PATCH /v1/jobs/{job_id}": _on("/v1/jobs/{}", _Stored.queued, json={"priority": "high"}),
    "DELETE /v1/jobs/{job_id}": _on("/v1/jobs/{}", _Stored.finished),
    "POST /v1/jobs/{job_id}/cancel": _on("/v1/jobs/{}/cancel", _Stored.queued),
    "POST /v1/jobs/{job_id}/retry": _on("/v1/jobs/{}/retry", _Stored.finished),
    "GET /v1/jobs/counts": _read("/v1/jobs/counts"),
    "GET /v1/jobs/throughput": _read("/v1/jobs/throughput"),
    "POST /v1/jobs/{job_id}/clone": _on("/v1/jobs/{}/clone", _Stored.queued, json={}),
    "POST /v1/jobs/batch": lambda stored: (
        "/v1/jobs/batch",
        {"json": {"action": "cancel", "ids": [str(stored.queued())]}},
    ),
    "GET /v1/jobs/{job_id}/events": _read("/v1/jobs/{job_id}/events"),
    "GET /v1/jobs/{job_id}/stream": _read("/v1/jobs/{job_id}/stream"),
    "GET /v1/stream": _read("/v1/stream"),
    "GET /v1/jobs/{job_id}/misclassified": _read("/v1/jobs/{job_id}/misclassified"),
    "GET /v1/jobs/{job_id}/evaluation": _read("/v1/jobs/{job_id}/evaluation"),
    "GET /v1/jobs/{job_id}/evaluation/predictions": _read("/v1/jobs/{job_id}/evaluation/predictions"),
    "GET /v1/jobs/{job_id}/artifacts": _read("/v1/jobs/{job_id}/artifacts"),
    "GET /v1/jobs/{job_id}/artifacts/{artifact}": _read("/v1/jobs/{job_id}/artifacts/model.onnx"),
    "GET /v1/jobs/{job_id}/logs": _read("/v1/jobs/{job_id}/logs"),
    "GET /v1/jobs/{job_id}/metrics": _read("/v1/jobs/{job_id}/metrics"),
    "GET /v1/metrics": _read("/v1/metrics", jobs=lambda stored: stored.world.job_id[0]),
    "GET /v1/compare": _read("/v1/compare", jobs=lambda stored: list(map(str, stored.world.job_id[:2]))),
    "GET /v1/jobs/{job_id}/images": _read("/v1/jobs/{job_id}/images", part="evaluation", indices="0"),
    "GET /v1/jobs/{job_id}/weights": _read("/v1/jobs/{job_id}/weights"),
    "GET /v1/jobs/{job_id}/weights/{epoch}": _read("/v1/jobs/{job_id}/weights/0"),
    "GET /v1/models": _read("/v1/models"),
    "GET /v1/models/{model_id}": _read("/v1/models/{model_id}"),
    "PATCH /v1/models/{model_id}": _on("/v1/models/{}", _Stored.model, json={"description": "theirs"}),
    "DELETE /v1/models/{model_id}": _on("/v1/models/{}", _Stored.model),
    "GET /v1/models/{model_id}/download": _read("/v1/models/{model_id}/download"),
    "POST /v1/models/{model_id}/predict": lambda stored: (
        f"/v1/models/{stored.world.model_id[0]}/predict",
        {"json": _PIXEL},
    ),
    "GET /v1/models/{model_id}/tfjs/model.json": _read("/v1/models/{model_id}/tfjs/model.json"),
    "GET /v1/models/{model_id}/tfjs/weights.bin": _read("/v1/models/{model_id}/tfjs/weights.bin"),
    "POST /v1/sweeps": _on("/v1/sweeps", json=_SWEEP),
    "GET /v1/sweeps": _read("/v1/sweeps"),
    "GET /v1/sweeps/{sweep_id}": _on("/v1/sweeps/{}", _Stored.sweep),
    "POST /v1/sweeps/{sweep_id}/cancel": _on("/v1/sweeps/{}/cancel", _Stored.sweep),
    "GET /v1/datasets": _read("/v1/datasets"),
    "GET /v1/datasets/{name}/samples": _read("/v1/datasets/digits/samples"),
    "GET /v1/datasets/{name}/images": _read("/v1/datasets/digits/images", split="test", indices="0"),
    "GET /v1/workers": _read("/v1/workers"),
    "GET /v1/workers/{worker_id}/attempts": _on("/v1/workers/{}/attempts", _Stored.worker),
    "POST /v1/workers/{worker_id}/drain": _on("/v1/workers/{}/drain", _Stored.worker),
    "POST /v1/workers/{worker_id}/undrain": _on("/v1/workers/{}/undrain", _Stored.worker),
    "GET /v1/queues": _read("/v1/queues"),
    "GET /v1/queues/{name}/tenants": _read("/v1/queues/default/tenants"),
    "GET /v1/autoscaling": _read("/v1/autoscaling"),
    "POST /v1/queues/{name}/pause": _on("/v1/queues/slow/pause"),
    "POST /v1/queues/{name}/resume": _on("/v1/queues/slow/resume"),
    "PATCH /v1/queues/{name}": _on("/v1/queues/slow", json={"max_running": 2}),
    "POST /v1/api-keys": _on("/v1/api-keys", json={"name": "another"}),
    "GET /v1/api-keys": _read("/v1/api-keys"),
    "PATCH /v1/api-keys/{key_id}": _on("/v1/api-keys/{}", _Stored.key, json={"team": "vision"}),
    "DELETE /v1/api-keys/{key_id}": _on("/v1/api-keys/{}", _Stored.key),
    "GET /v1/me": _read("/v1/me"),
    "POST /v1/webhooks": _on("/v1/webhooks", json={"url": _URL}),
    "GET /v1/webhooks": _read("/v1/webhooks"),
    "PATCH /v1/webhooks/{webhook_id}": _on("/v1/webhooks/{}", _Stored.webhook, json={"paused": True}),
    "DELETE /v1/webhooks/{webhook_id}": _on("/v1/webhooks/{}", _Stored.webhook),
    "POST /v1/webhooks/{webhook_id}/rotate-secret": _on("/v1/webhooks/{}/rotate-secret", _Stored.webhook),
    "POST /v1/webhooks/{webhook_id}/test": _on("/v1/webhooks/{}/test", _Stored.webhook),
    "GET /v1/webhooks/{webhook_id}/deliveries": _on("/v1/webhooks/{}/deliveries", _Stored.webhook),
    "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver": _on("{}", _Stored.delivery),
    "GET /livez": _read("/livez"),
    "GET /readyz": _read("/readyz"),
    "GET /version": _read("/version"),
    "GET /metrics": _read("/metrics"),
    "GET /problems/{slug}": _read("/problems/forbidden"),
}
"""How each operation is requested so that it succeeds if the key may."""

OPERATIONS = rights_page.scopes()


@pytest.fixture
def stored(database: Database) -> _Stored:
    """A database that holds something of everything, and a key for each column of the table but the first."""
    keys = {
        name: registry.api_key(database, name, _SCOPES.get(name, Scope.SUBMIT), team=_TEAMS.get(name))
        for name in KEYS[1:]
    }
    return _Stored(database, populate(database, 2), keys)


def _status(api: httpx.Client, operation: str, path: str, key: NewApiKey | None, arguments: Any) -> int:
    """Request an operation; return the status of the answer, of a batch that of its only job."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    method = operation.partition(" ")[0]
    with api.stream(method, path, headers=headers, **arguments) as answer:  # some answers have no end
        if operation == "POST /v1/jobs/batch" and answer.is_success:
            answer.read()
            return int(answer.json()["data"][0]["status"])
        if answer.status_code == 403:
            answer.read()
            assert answer.json()["type"] == "/problems/forbidden"
        return answer.status_code


def test_every_operation_has_a_row() -> None:
    assert list(RECIPES) == list(OPERATIONS)
    assert rights_page.OWNED.keys() <= OPERATIONS.keys()


def test_each_key_may_do_what_the_table_says_and_nothing_else(api: httpx.Client, stored: _Stored) -> None:
    wrong = []
    for operation, scope in OPERATIONS.items():
        for name, may in rights_page.allowed(operation, scope).items():
            path, arguments = RECIPES[operation](stored)
            status = _status(api, operation, path, stored.keys.get(name), arguments)
            refused = 401 if name == "no key" else 403
            if status != refused if not may else not 200 <= status < 300:
                wrong.append((operation, name, status))
    assert not wrong


def test_the_page_has_the_table() -> None:
    assert rights_page.PAGE.read_text() == rights_page.render(), "run python -m tests.support.rights_page"
