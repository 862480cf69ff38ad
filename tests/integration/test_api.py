"""The API over HTTP, on each database, with a real Redis; workers are played by the store's functions."""

import json
import socket
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import select

from api.app import create_app
from shared.broker import list_name
from shared.db.engine import Database
from shared.db.tables import Job
from shared.settings import Settings
from tests.support import factories
from tests.support.servers import RedisServer, running_app, running_postgres

ANSWER_S = 3.0  # within which a submit is answered, whatever the broker does


def _messages(redis: RedisServer, queue: str = "default", priority: str = "normal") -> list[str]:
    """The job ids in one of the broker's lists."""
    with redis.client() as client:
        sent = [json.loads(message) for message in client.lrange(list_name(queue, priority), 0, -1)]
    return [json.loads(b64decode(message["body"]))[0][0] for message in sent]


def _submit(api: httpx.Client, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return api.post("/v1/jobs", json={"kind": "train", **body}, headers=headers)


def test_a_submitted_job_is_sent_to_its_list_once(api: httpx.Client, redis: RedisServer) -> None:
    job = _submit(api, queue="gpu", priority="high").json()

    assert _messages(redis, "gpu", "high") == [job["id"]]


def test_requests_with_one_key_make_one_job_also_at_the_same_moment(
    api: httpx.Client, redis: RedisServer
) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: _submit(api, "key"), range(16)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert _messages(redis) == [answers[0].json()["id"]]


def test_a_jobs_life_is_told_from_submit_to_result(api: httpx.Client, database: Database) -> None:
    job = _submit(api, spec={"epochs": 3, "train_size": 100, "batch_size": 50, "seed": 1}).json()
    path, tags = f"/v1/jobs/{job['id']}", set()

    def look() -> dict[str, Any]:
        answer = api.get(path)
        tags.add(answer.headers["ETag"])
        assert api.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
        told: dict[str, Any] = answer.json()
        return told

    assert look()["state"] == "queued"
    attempt = factories.claimed(database, UUID(job["id"])).attempt
    assert look()["state"] == "running"
    factories.record(database, attempt, 3)
    assert look()["progress"]["percent"] == 100
    model = factories.make_model()
    factories.succeed(database, attempt, model)
    done = look()

    assert (done["state"], done["model_id"], done["evaluation_accuracy"]) == (
        "succeeded",
        str(model.id),
        0.98,
    )
    assert done["attempts"][0]["outcome"] == "succeeded"
    assert len(tags) == 4
    series = api.get(f"{path}/metrics", params={"resolution": "step"}).json()["series"]
    assert [len(one["y"]) for one in series] == [6, 6]
    evaluation = api.get(f"{path}/evaluation").json()
    assert evaluation["confusion_matrix"] == [list(row) for row in model.evaluation.confusion_matrix]
    assert [one["name"] for one in evaluation["per_class"]] == list(factories.NAMES)
    assert api.get(f"/v1/models/{model.id}").json()["job_id"] == job["id"]
    assert api.get(f"/v1/models/{model.id}/download?format=onnx").content == b"an ONNX file"


def test_pages_hold_every_job_once_while_others_arrive(api: httpx.Client, database: Database) -> None:
    expected = {str(factories.submitted(database)) for _ in range(7)}
    page = api.get("/v1/jobs", params={"limit": 3}).json()
    seen = [job["id"] for job in page["data"]]
    while page["has_more"]:
        factories.submitted(database)
        page = api.get("/v1/jobs", params={"limit": 3, "cursor": page["next_cursor"]}).json()
        seen += [job["id"] for job in page["data"]]

    assert len(seen) == 7
    assert set(seen) == expected


def test_states_are_listed_apart(api: httpx.Client, database: Database) -> None:
    made = {
        "queued": factories.submitted(database),
        "running": factories.running(database).job_id,
        "succeeded": factories.succeeded(database)[0],
        "failed": factories.failed(database),
        "cancelled": factories.cancelled(database),
    }
    listed = {state: api.get("/v1/jobs", params={"state": state}).json()["data"] for state in made}

    assert {state: [job["id"] for job in jobs] for state, jobs in listed.items()} == {
        state: [str(job_id)] for state, job_id in made.items()
    }


def test_a_cancelled_job_is_retried_as_another(api: httpx.Client, redis: RedisServer) -> None:
    first = _submit(api).json()
    assert api.post(f"/v1/jobs/{first['id']}/cancel").json()["state"] == "cancelled"

    second = api.post(f"/v1/jobs/{first['id']}/retry").json()

    assert (second["retry_of"], second["spec"]) == (first["id"], first["spec"])
    assert sorted(_messages(redis)) == sorted([first["id"], second["id"]])


def test_a_text_that_postgresql_cannot_hold_is_refused(api: httpx.Client) -> None:
    assert _submit(api, name="a\x00b").status_code == 422
    assert _submit(api, tags=["a\x00b"]).status_code == 422
    assert _submit(api, spec={"dataset": "a\x00b"}).status_code == 422


def test_it_is_ready_and_knows_no_workers(api: httpx.Client) -> None:
    assert api.get("/readyz").status_code == 200
    assert api.get("/v1/workers").json() == {"data": []}


def test_the_codelabs_twenty_examples_are_shown(
    settings: Settings, sqlite_url: str, real_mnist: dict[str, str]
) -> None:
    configured = settings.model_copy(update={"database_url": sqlite_url, **real_mnist})
    with running_app(create_app(configured)) as api:
        samples = api.get("/v1/datasets/mnist/samples", params={"seed": 1}).json()["data"]

    assert len({one["index"] for one in samples}) == 20
    assert all(0 <= one["index"] < 10_000 and one["name"] == factories.NAMES[one["label"]] for one in samples)


@contextmanager
def _silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener.getsockname()[1]


@contextmanager
def _closed_port() -> Iterator[int]:
    """A port on which nothing listens, and that nothing else gets meanwhile."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.mark.parametrize("port", [_closed_port, _silent_port], ids=["closed", "silent"])
def test_a_submit_is_answered_in_time_while_the_broker_is_away(
    live_settings: Settings, database: Database, port: Any
) -> None:
    with port() as number:
        away = live_settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{number}/0"})
        with running_app(create_app(away)) as api:
            _assert_taken_in_time(api, database)


def test_a_submit_is_answered_in_time_when_the_broker_begins_to_hang(
    api: httpx.Client, redis: RedisServer, database: Database
) -> None:
    assert _submit(api).status_code == 202  # with a connection that is open from now on
    redis.hang()

    _assert_taken_in_time(api, database)

    redis.stop()
    redis.start()
    job = _submit(api).json()
    assert _messages(redis) == [job["id"]]


def _assert_taken_in_time(api: httpx.Client, database: Database) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: _submit_timed(api), range(16)))
    assert max(seconds for _, seconds in answers) < ANSWER_S
    for job_id, _ in answers:
        assert api.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"
    unsent = select(Job.id).where(Job.dispatched_at.is_(None))
    assert set(database.read(lambda session: session.scalars(unsent).all())) == {id_ for id_, _ in answers}


def _submit_timed(api: httpx.Client) -> tuple[UUID, float]:
    started = monotonic()
    answer = _submit(api)
    assert answer.status_code == 202
    return UUID(answer.json()["id"]), monotonic() - started


def test_requests_are_problems_while_the_database_is_away_and_fine_afterwards(settings: Settings) -> None:
    with running_postgres() as server:
        database = Database(server.url())
        database.migrate()
        database.dispose()
        with running_app(create_app(settings.model_copy(update={"database_url": server.url()}))) as api:
            job = _submit(api).json()
            server.stop()

            lost, ready = api.get(f"/v1/jobs/{job['id']}"), api.get("/readyz")

            assert (lost.status_code, lost.headers["Retry-After"]) == (503, "1")
            assert lost.json()["type"] == "/problems/database-unavailable"
            assert ready.status_code == 503
            assert not ready.json()["checks"]["database"]["ok"]
            server.start()
            assert api.get(f"/v1/jobs/{job['id']}").json()["id"] == job["id"]
