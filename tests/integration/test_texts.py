"""Any text in any request is stored and returned as it was sent, or refused; none is an internal error."""

import json
from collections.abc import Iterator
from itertools import product
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings

from api.app import create_app
from shared.db.engine import Database
from shared.settings import Settings
from tests.support import queue_driver
from tests.support.hostile_texts import TEXTS
from tests.support.servers import running_app

_KEY = "k" * 32
_SPEC = {"dataset": "digits"}


@pytest.fixture
def guarded_api(settings: Settings, database_url: str) -> Iterator[httpx.Client]:
    """A client, with an administrator's key, of an API without Redis and without a rate limit."""
    options = {"database_url": database_url, "api_keys": (_KEY,), "rate_limit": 0.0}
    guarded = Settings(**{**settings.model_dump(exclude_unset=True), **options})
    with running_app(create_app(guarded)) as client:
        client.headers["Authorization"] = f"Bearer {_KEY}"
        yield client


def _bodies(job: str, model: str, text: str) -> list[tuple[str, str, Any]]:
    """A request for each text of a body."""
    new = {"kind": "train", "spec": _SPEC}
    sweep = {"strategy": "grid", "parameters": {"seed": [1]}, "spec": _SPEC}
    return [
        ("POST", "/v1/jobs", {**new, "name": text}),
        ("POST", "/v1/jobs", {**new, "tags": [text]}),
        ("POST", "/v1/jobs", {**new, "queue": text}),
        ("POST", "/v1/jobs", {**new, "spec": {"dataset": text}}),
        ("POST", "/v1/jobs", {**new, text: text}),
        ("POST", "/v1/jobs", {"kind": text, "spec": _SPEC}),
        ("POST", "/v1/jobs", {"kind": "evaluate", "spec": {"model_id": text}}),
        ("PATCH", job, {"name": text, "tags": [text]}),
        ("POST", f"{job}/clone", {"name": text}),
        ("POST", f"{job}/clone", {"spec": {text: text}}),
        ("POST", "/v1/jobs/batch", {"action": text, "ids": [text]}),
        ("POST", "/v1/sweeps", {**sweep, "name": text}),
        ("POST", "/v1/sweeps", {**sweep, "parameters": {"model": [text]}}),
        ("POST", "/v1/sweeps", {**sweep, "parameters": {text: [1]}}),
        ("PATCH", model, {"description": text}),
        ("PATCH", model, {"alias": text}),
        ("POST", "/v1/api-keys", {"name": text}),
        ("POST", f"{model}/predict", {"images": [text]}),
    ]


def _targets(job: str, text: str) -> list[tuple[str, str]]:
    """A request for each text of a path or query."""
    quoted = quote(text.encode("utf-8", "surrogatepass"), safe="")
    return [
        *(("GET", f"/v1/jobs?{name}={quoted}") for name in ("q", "tag", "queue", "worker", "cursor", "sort")),
        ("GET", f"{job}/logs?q={quoted}"),
        ("GET", f"{job}/logs?after={quoted}"),
        ("GET", f"{job}/metrics?names={quoted}"),
        ("GET", f"{job}/events?cursor={quoted}"),
        ("GET", f"/v1/metrics?jobs={quoted}"),
        ("GET", f"/v1/models/{quoted}"),
        ("GET", f"/v1/sweeps?cursor={quoted}"),
        ("GET", f"/v1/workers?cursor={quoted}"),
        ("GET", f"/problems/{quoted}"),
        ("POST", f"/v1/workers/{quoted}/drain"),
        ("POST", f"/v1/queues/{quoted}/pause"),
    ]


@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=TEXTS)
@example(text="\x00")
@example(text="\ud800")
@example(text="\U0010ffff" * 200)
def test_any_text_is_stored_or_refused(guarded_api: httpx.Client, database: Database, text: str) -> None:
    finished, model = queue_driver.succeeded(database)
    job, of_model = f"/v1/jobs/{finished}", f"/v1/models/{model.id}"
    for method, path, body in _bodies(job, of_model, text):
        content = json.dumps(body)
        response = guarded_api.request(
            method, path, content=content, headers={"Content-Type": "application/json"}
        )
        assert response.status_code < 500, f"{method} {path} {content}"
        if response.status_code < 300 and "name" in body:
            assert response.json()["name"] == text
    for method, target in _targets(job, text):
        assert guarded_api.request(method, target).status_code < 500, f"{method} {target}"


def test_any_header_is_accepted_or_refused(guarded_api: httpx.Client, database: Database) -> None:
    job = f"/v1/jobs/{queue_driver.failed(database)}"
    values = (b"\x7f", b"\xff\xfe", b"\xed\xa0\x80", b"x" * 300, b"\xc3\xa9", b'"\t"')
    for name, value in product(("Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID"), values):
        headers = [(name.encode(), value)]
        responses = [
            guarded_api.get(job, headers=headers),
            guarded_api.patch(job, json={"name": "x"}, headers=headers),
            guarded_api.post(f"{job}/retry", headers=headers),
            guarded_api.post("/v1/jobs", json={"kind": "train", "spec": _SPEC}, headers=headers),
        ]
        assert {response.status_code for response in responses} <= {200, 202, 304, 400, 412, 422}
