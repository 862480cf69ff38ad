"""Concurrent requests about one job and its model: each succeeds or is refused, none is an internal error."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import httpx
import pytest

from shared.db.engine import Database
from tests.support import queue_driver

Request = Callable[[httpx.Client, str, str], httpx.Response]


def _batch(action: str) -> Request:
    def send(api: httpx.Client, job: str, _model: str) -> httpx.Response:
        return api.post("/v1/jobs/batch", json={"action": action, "ids": [job]})

    return send


def _retry(api: httpx.Client, job: str, _model: str) -> httpx.Response:
    return api.post(f"/v1/jobs/{job}/retry")


def _keyed_retry(api: httpx.Client, job: str, _model: str) -> httpx.Response:
    return api.post(f"/v1/jobs/{job}/retry", headers={"Idempotency-Key": job})


def _clone(api: httpx.Client, job: str, _model: str) -> httpx.Response:
    return api.post(f"/v1/jobs/{job}/clone", json={"spec": {"dataset": "digits"}})


def _evaluate(api: httpx.Client, _job: str, model: str) -> httpx.Response:
    return api.post("/v1/jobs", json={"kind": "evaluate", "spec": {"model_id": model}})


def _label(api: httpx.Client, job: str, _model: str) -> httpx.Response:
    return api.patch(f"/v1/jobs/{job}", json={"name": "x", "tags": ["a", "b"]})


def _cancel(api: httpx.Client, job: str, _model: str) -> httpx.Response:
    return api.post(f"/v1/jobs/{job}/cancel")


def _delete(api: httpx.Client, job: str, _model: str) -> httpx.Response:
    return api.delete(f"/v1/jobs/{job}")


def _describe_model(api: httpx.Client, _job: str, model: str) -> httpx.Response:
    return api.patch(f"/v1/models/{model}", json={"description": "x"})


def _name_model(api: httpx.Client, _job: str, model: str) -> httpx.Response:
    return api.patch(f"/v1/models/{model}", json={"alias": "champion"})


def _delete_model(api: httpx.Client, _job: str, model: str) -> httpx.Response:
    return api.delete(f"/v1/models/{model}")


def _read(api: httpx.Client, job: str, model: str) -> httpx.Response:
    responses = [
        api.get(path)
        for path in (f"/v1/jobs/{job}", f"/v1/models/{model}", f"/v1/jobs/{job}/evaluation", "/v1/jobs")
    ]
    return max(responses, key=lambda response: response.status_code)


_REQUESTS: dict[str, Request] = {
    "retry": _retry,
    "retry with a key": _keyed_retry,
    "clone": _clone,
    "evaluate": _evaluate,
    "label": _label,
    "cancel": _cancel,
    "delete": _delete,
    "describe the model": _describe_model,
    "name the model": _name_model,
    "delete the model": _delete_model,
    "batch of retries": _batch("retry"),
    "batch of deletes": _batch("delete"),
    "read": _read,
}


def _statuses(response: httpx.Response) -> list[int]:
    """The statuses of a response and of the items of a batch."""
    items: list[dict[str, Any]] = []
    if response.request.url.path.endswith("/batch") and response.status_code == 200:
        items = response.json()["data"]
    return [response.status_code, *(item["status"] for item in items)]


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.faults)])
@pytest.mark.parametrize("first", _REQUESTS)
def test_no_two_concurrent_requests_meet_an_internal_error(
    api: httpx.Client, database: Database, first: str, rounds: int
) -> None:
    names = list(_REQUESTS)
    others = names[names.index(first) :]
    barrier = Barrier(2, timeout=20)

    def send(request: Request, job: str, model: str) -> httpx.Response:
        barrier.wait()
        return request(api, job, model)

    with ThreadPoolExecutor(2) as threads:
        for second in others * rounds:
            job, model = queue_driver.succeeded(database)
            pair = (_REQUESTS[first], _REQUESTS[second])
            responses = threads.map(lambda each: send(each, str(job), str(model.id)), pair)  # noqa: B023
            statuses = [status for response in responses for status in _statuses(response)]
            assert max(statuses) < 500, f"{first} and {second}: {statuses}"
