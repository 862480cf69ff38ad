"""What is not there is 404, whatever is asked of it, by every operation of the OpenAPI document.

The requests are made from the document, so an operation that is added is tested from then on.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import httpx
import pytest

from api.app import create_app
from api.http.problems import TYPES
from shared.settings import Settings

# what each parameter of a path is to be, and the problem when nothing has that name
UNKNOWN: Mapping[str, tuple[str, str]] = {
    "job_id": (str(UUID(int=7)), "job-not-found"),
    "model_id": (str(UUID(int=7)), "model-not-found"),
    "sweep_id": (str(UUID(int=7)), "sweep-not-found"),
    "worker_id": ("nobody", "worker-not-found"),
    "webhook_id": (str(UUID(int=7)), "webhook-not-found"),
    "key_id": (str(UUID(int=7)), "api-key-not-found"),
    "slug": ("worry", "problem-not-found"),
    "name": ("nothing", "dataset-not-found"),
}

# the name of a part of what another name stands for
PARTS = {"epoch": "0", "artifact": "model.onnx", "delivery_id": str(UUID(int=7))}

# any queue may be named: it is there as soon as a job is submitted to it; it may be paused or limited before
WITHOUT_UNKNOWN = frozenset(
    {
        "PATCH /v1/queues/{name}",
        "GET /v1/queues/{name}/tenants",
        "POST /v1/queues/{name}/pause",
        "POST /v1/queues/{name}/resume",
    }
)


class Operation(NamedTuple):
    method: str
    path: str
    described: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def _operations() -> list[Operation]:
    document = create_app(Settings()).openapi()
    every = (
        Operation(method.upper(), path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    )
    return [one for one in every if "{" in one.path]


def _request(operation: Operation) -> dict[str, Any]:
    """A valid request in all but the name: with what it must have, and the first example of a body."""
    query: dict[str, Any] = {}
    headers: dict[str, Any] = {}
    path: dict[str, str] = {}
    for parameter in operation.described["parameters"]:
        match parameter["in"]:
            case "path" if parameter["name"] in PARTS:
                path[parameter["name"]] = PARTS[parameter["name"]]
            case "path":
                assert parameter["name"] in UNKNOWN, f"say in UNKNOWN what {parameter['name']} may be"
                path[parameter["name"]] = UNKNOWN[parameter["name"]][0]
            case place if parameter["required"]:
                given = query if place == "query" else headers
                given[parameter["name"]] = parameter["schema"]["examples"][0]
    body = operation.described.get("requestBody", {}).get("content", {}).get("application/json")
    example = next(iter(body["examples"].values()))["value"] if body else None
    url = operation.path.format_map(path)
    return {"method": operation.method, "url": url, "params": query, "headers": headers, "json": example}


@pytest.mark.parametrize(
    "operation", [one for one in _operations() if str(one) not in WITHOUT_UNKNOWN], ids=str
)
def test_what_is_not_there_is_a_problem_of_its_own_type(api: httpx.Client, operation: Operation) -> None:
    names = {one["name"] for one in operation.described["parameters"] if one["in"] == "path"}
    (name,) = names.difference(PARTS)
    kind = TYPES[UNKNOWN[name][1]]

    answer = api.request(**_request(operation))

    assert answer.status_code == 404, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["type"], problem["title"], problem["status"]) == (kind.uri, kind.title, 404)
    assert "404" in operation.described["responses"]


def test_the_exceptions_are_operations(api: httpx.Client) -> None:
    exceptions = [one for one in _operations() if str(one) in WITHOUT_UNKNOWN]
    assert {str(one) for one in exceptions} == WITHOUT_UNKNOWN
    for operation in exceptions:
        assert api.request(**_request(operation)).status_code == 200
