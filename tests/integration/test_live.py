"""Live updates over HTTP, on each database, with a real Redis; the store's functions simulate workers."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from api import deps
from api.app import create_app
from shared.db.engine import Database
from shared.db.tables import Job, JobEvent
from shared.lifecycle import Phase
from shared.settings import Settings
from shared.store.progress import Progress
from shared.store.submit import submit_job
from tests.support import factories, queue_driver
from tests.support.databases import open_database
from tests.support.servers import RedisServer, running_app
from tests.support.streams import StreamEvent, long_poll, open_stream
from trainshed.client import Client

EVENT_TYPES = [
    "submitted", "claimed", "progress", "progress", "progress", "progress", "succeeded",
]  # fmt: skip


def _succeed(database: Database, job_id: UUID) -> None:
    attempt = queue_driver.claim(database, job_id).attempt
    queue_driver.record_progress(database, attempt, factories.make_progress(Phase.TRAINING))
    queue_driver.record(database, attempt, 3)
    queue_driver.succeed(database, attempt, factories.make_model())


def _told(event: StreamEvent) -> dict[str, Any]:
    """What an event of progress tells of, without the times."""
    return {
        name: [{key: value for key, value in item.items() if key != "at"} for item in items]
        for name, items in event.data["data"].items()
    }


def _first_epoch() -> dict[str, Any]:
    """A recorded epoch in its event: everything except the values of the batches."""
    return {"phases": [], "epochs": [factories.make_epoch().summary]}


def test_a_stream_sends_each_event_of_a_job_and_then_its_end(
    api: httpx.Client, publishing_database: Database
) -> None:
    job_id = queue_driver.submit(publishing_database)
    with open_stream(api, f"/v1/jobs/{job_id}/stream") as stream:
        assert next(stream).event == "submitted"
        _succeed(publishing_database, job_id)
        rest = list(stream)

    assert [event.event for event in rest] == [*EVENT_TYPES[1:], "end"]
    assert [event.id for event in rest[:-1]] == ["2", "3", "4", "5", "6", "7"]
    assert _told(rest[1]) == {"phases": [{"phase": "training"}], "epochs": []}
    assert _told(rest[2]) == _first_epoch()
    assert rest[-1].data == {"state": "succeeded"}


def _steps(epoch: int, count: int) -> Progress:
    begun = factories.make_epoch(epoch, steps={"loss": [0.5] * count})
    return factories.make_progress(running=begun)


@pytest.mark.parametrize("redis_runs", [True, False])
def test_a_stream_says_how_far_an_epoch_is_without_an_event(
    api: httpx.Client, publishing_database: Database, redis: RedisServer, redis_runs: bool
) -> None:
    if not redis_runs:
        redis.stop()
    attempt = queue_driver.running(publishing_database)
    queue_driver.record_progress(publishing_database, attempt, _steps(0, 1))
    told = {"job_id": str(attempt.job_id), "attempt": 1, "epoch": 0}
    with open_stream(api, f"/v1/jobs/{attempt.job_id}/stream") as stream:
        assert [next(stream).event for _ in range(2)] == ["submitted", "claimed"]
        assert next(stream) == StreamEvent("", "steps", {**told, "steps": 1})
        queue_driver.record_progress(publishing_database, attempt, _steps(0, 2))
        assert next(stream) == StreamEvent("", "steps", {**told, "steps": 2})
        queue_driver.record(publishing_database, attempt, 1)
        assert next(stream).event == "progress"
        queue_driver.record_progress(publishing_database, attempt, _steps(1, 1))
        assert next(stream) == StreamEvent("", "steps", {**told, "epoch": 1, "steps": 1})
        queue_driver.succeed(publishing_database, attempt, factories.make_model())
        assert [event.event for event in stream] == ["succeeded", "end"]


def test_the_client_streams_events_alone(api: httpx.Client, publishing_database: Database) -> None:
    attempt = queue_driver.running(publishing_database)
    queue_driver.record_progress(publishing_database, attempt, _steps(0, 1))
    with Client(str(api.base_url)) as server:
        events = server.stream(attempt.job_id)
        types = [next(events).type for _ in range(2)]
        queue_driver.record(publishing_database, attempt, 1)
        queue_driver.succeed(publishing_database, attempt, factories.make_model())
        types += [event.type for event in events]
    assert types == ["submitted", "claimed", "progress", "succeeded"]


def test_a_stream_resumed_after_every_event_has_each_event_once(
    api: httpx.Client, database: Database
) -> None:
    job_id = queue_driver.submit(database)
    _succeed(database, job_id)
    path, seen = f"/v1/jobs/{job_id}/stream", list[StreamEvent]()
    while not seen or seen[-1].event != "end":
        with open_stream(api, path, seen[-1].id if seen else None) as stream:
            seen.append(next(stream))

    assert [event.event for event in seen] == [*EVENT_TYPES, "end"]


def test_a_stream_is_resumed_from_another_api_process_after_a_restart(
    live_settings: Settings, publishing_database: Database
) -> None:
    job_id = queue_driver.submit(publishing_database)
    path, seen = f"/v1/jobs/{job_id}/stream", list[StreamEvent]()
    with running_app(create_app(live_settings)) as api, open_stream(api, path) as stream:
        seen.append(next(stream))
    _succeed(publishing_database, job_id)
    with running_app(create_app(live_settings)) as api, open_stream(api, path, seen[-1].id) as stream:
        seen += islice(stream, 2)
    with running_app(create_app(live_settings)) as api, open_stream(api, path, seen[-1].id) as stream:
        seen += stream

    assert [event.event for event in seen] == [*EVENT_TYPES, "end"]


def test_the_client_streams_each_event_of_a_job(api: httpx.Client, publishing_database: Database) -> None:
    job_id = queue_driver.submit(publishing_database)
    with Client(str(api.base_url)) as server:
        events = server.stream(job_id)
        seqs = [next(events).seq]
        _succeed(publishing_database, job_id)
        seqs += [event.seq for event in events]
        assert seqs == [event.seq for event in server.events(job_id)] == [1, 2, 3, 4, 5, 6, 7]
        assert server.wait(job_id).state == "succeeded"


def test_the_last_event_id_takes_precedence_over_the_parameter_after(
    api: httpx.Client, database: Database
) -> None:
    job_id = queue_driver.submit(database)
    _succeed(database, job_id)
    path = f"/v1/jobs/{job_id}/stream"
    with open_stream(api, path, after=5) as stream:
        assert [event.id for event in stream][:-1] == ["6", "7"]
    with open_stream(api, path, "6", after=2) as stream:
        assert [event.id for event in stream][:-1] == ["7"]


def test_a_stream_begins_again_for_a_client_that_has_seen_more_than_was_restored(
    live_settings: Settings, sqlite_url: str, tmp_path: Path
) -> None:
    settings = live_settings.model_copy(update={"database_url": sqlite_url})
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with open_database(sqlite_url) as database:
        job_id = queue_driver.submit(database)
    backup = shutil.copy(path, tmp_path / "backup")
    stream_path = f"/v1/jobs/{job_id}/stream"
    with open_database(sqlite_url) as database, running_app(create_app(settings)) as api:
        _succeed(database, job_id)
        with open_stream(api, stream_path) as stream:
            last_id = list(stream)[-2].id
    for name in path.parent.glob(f"{path.name}*"):
        name.unlink()
    shutil.copy(backup, path)

    with open_database(sqlite_url) as database, running_app(create_app(settings)) as api:
        with open_stream(api, stream_path, last_id) as stream:
            reset, first = islice(stream, 2)
            assert (reset.event, reset.id, reset.data) == ("reset", "0", {"version": 1})
            _succeed(database, job_id)
            assert [event.event for event in (first, *stream)] == [*EVENT_TYPES, "end"]
        with Client(str(api.base_url)) as server:
            assert [event.seq for event in server.stream(job_id, after=99)] == [1, 2, 3, 4, 5, 6, 7]


def test_an_open_stream_begins_again_when_its_job_becomes_older(
    api: httpx.Client, database: Database
) -> None:
    job_id = queue_driver.submit(database)
    with open_stream(api, f"/v1/jobs/{job_id}/stream") as stream:
        next(stream)
        queue_driver.claim(database, job_id)
        assert next(stream).event == "claimed"
        with database.engine.begin() as connection:
            connection.execute(delete(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq == 2))
            older = {"version": 1, "state": "queued", "lease_owner": None, "lease_expires_at": None}
            connection.execute(update(Job).where(Job.id == job_id).values(**older))
        assert [event.event for event in islice(stream, 2)] == ["reset", "submitted"]


def test_a_stream_ends_when_its_job_is_deleted(api: httpx.Client, database: Database) -> None:
    job_id = queue_driver.submit(database)
    with open_stream(api, f"/v1/jobs/{job_id}/stream") as stream:
        next(stream)
        _delete(database, job_id)
        assert [(event.event, event.data) for event in stream] == [("end", {"state": None})]


def _delete(database: Database, job_id: UUID) -> None:
    database.write(lambda session: session.execute(delete(Job).where(Job.id == job_id)))


@pytest.mark.parametrize("outage", ["stopped", "hanging"])
def test_changes_are_delivered_while_redis_is_unavailable(
    api: httpx.Client,
    publishing_database: Database,
    redis: RedisServer,
    threads: ThreadPoolExecutor,
    outage: str,
) -> None:
    job_id, other = (queue_driver.submit(publishing_database) for _ in range(2))
    with open_stream(api, f"/v1/jobs/{other}/stream") as stream, open_stream(api, "/v1/stream") as all_jobs:
        all_jobs.read_first_id()
        next(stream)
        waiting = long_poll(api, threads, job_id)
        {"stopped": redis.stop, "hanging": redis.hang}[outage]()
        queue_driver.claim(publishing_database, job_id)
        queue_driver.claim(publishing_database, other)

        assert waiting.result().json()["state"] == "running"
        assert next(stream).event == "claimed"
        assert [next(all_jobs).data["job_id"] for _ in range(2)] == [str(job_id), str(other)]


def test_changes_are_delivered_after_redis_is_restarted(
    api: httpx.Client, publishing_database: Database, redis: RedisServer, threads: ThreadPoolExecutor
) -> None:
    redis.stop()
    job_id = queue_driver.submit(publishing_database)
    waiting = long_poll(api, threads, job_id)
    redis.start()
    queue_driver.claim(publishing_database, job_id)
    assert waiting.result().json()["state"] == "running"


def test_the_stream_of_all_jobs_starts_at_the_end_and_resumes_after_any_event(
    api: httpx.Client, publishing_database: Database
) -> None:
    queue_driver.submit(publishing_database)
    with open_stream(api, "/v1/stream") as stream:
        assert stream.read_first_id()
        first, second = (queue_driver.submit(publishing_database) for _ in range(2))
        _succeed(publishing_database, first)
        streamed = list(islice(stream, len(EVENT_TYPES) + 1))
    seen: list[StreamEvent] = []
    while len(seen) < len(streamed):
        with open_stream(api, "/v1/stream", seen[-1].id if seen else None, after=stream.first_id) as resumed:
            seen.append(next(resumed))

    assert seen == streamed
    assert [event.event for event in streamed if event.data["job_id"] == str(first)] == EVENT_TYPES
    assert [event.event for event in streamed if event.data["job_id"] == str(second)] == ["submitted"]
    _, recorded, *_ = (event for event in streamed if event.event == "progress")
    assert _told(recorded) == _first_epoch()


def test_jobs_missing_from_a_list_are_in_a_stream_that_was_opened_before_it(
    api: httpx.Client, publishing_database: Database, threads: ThreadPoolExecutor
) -> None:
    barrier = Barrier(5)

    def submit_some(_: int) -> list[str]:
        barrier.wait()
        return [str(queue_driver.submit(publishing_database)) for _ in range(20)]

    writing = [threads.submit(submit_some, number) for number in range(4)]
    barrier.wait()
    with open_stream(api, "/v1/stream") as stream:
        stream.read_first_id()
        listed = {job["id"] for job in api.get("/v1/jobs", params={"limit": 200}).json()["data"]}
        submitted = {job_id for writer in writing for job_id in writer.result()}
        late = submitted - listed
        streamed: list[str] = []
        while not late <= set(streamed):
            streamed.append(next(stream).data["job_id"])

    assert len(streamed) == len(set(streamed))


@pytest.mark.parametrize(
    ("path", "query", "headers"),
    [
        ("/stream", {"after": "x"}, {}),
        ("/stream", {}, {"Last-Event-ID": "-1"}),
        ("/events", {"after": -1}, {}),
        ("/events", {"limit": 1_001}, {}),
        ("", {"wait": 31}, {}),
    ],
)
def test_invalid_parameters_of_live_updates_are_refused(
    api: httpx.Client, database: Database, path: str, query: dict[str, Any], headers: dict[str, str]
) -> None:
    response = api.get(f"/v1/jobs/{queue_driver.submit(database)}{path}", params=query, headers=headers)

    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] in ("after", "Last-Event-ID", "limit", "wait")


def test_a_malformed_cursor_of_the_stream_of_all_jobs_is_refused(api: httpx.Client) -> None:
    response = api.get("/v1/stream", headers={"Last-Event-ID": "yesterday"})

    assert response.status_code == 422
    assert "is not the id of an event" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/events", "/stream"])
def test_events_and_the_stream_of_an_unknown_job_are_not_found(api: httpx.Client, path: str) -> None:
    response = api.get(f"/v1/jobs/0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f{path}")

    assert response.status_code == 404
    assert response.json()["type"] == "/problems/job-not-found"


def test_events_are_returned_in_pages(api: httpx.Client, database: Database) -> None:
    job_id = queue_driver.submit(database)
    _succeed(database, job_id)
    path, seen = f"/v1/jobs/{job_id}/events", list[dict[str, Any]]()
    more = True
    while more:
        page = api.get(path, params={"after": seen[-1]["seq"] if seen else 0, "limit": 3}).json()
        seen += page["data"]
        more = page["has_more"]

    assert [event["type"] for event in seen] == EVENT_TYPES
    assert [event["attempt"] for event in seen] == [0, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_stream_is_refused_while_a_transaction_keeps_its_beginning_from_being_known(
    api: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deps, "OPENING_S", 0.2)
    with Session(database.engine) as open_transaction:
        submit_job(open_transaction, factories.make_new_job())
        open_transaction.execute(select(1))  # its event is sent with the next statement
        queue_driver.submit(database, queue="gpu")  # submissions to one queue wait for each other
        refused = api.get("/v1/stream")
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (
            503,
            "database-unavailable",
        )
        assert int(refused.headers["Retry-After"]) > 0
        open_transaction.commit()
    with open_stream(api, "/v1/stream") as stream:
        job_id = queue_driver.submit(database)
        assert next(stream).data["job_id"] == str(job_id)
