"""Live updates over HTTP, on each database, with a real Redis; the store's functions play the workers."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from threading import Barrier
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import delete

from api.app import create_app
from shared.db.engine import Database
from shared.db.tables import Job
from shared.lifecycle import Phase
from shared.settings import Settings
from shared.store import attempts
from shared.store.change_feed import ChangePublisher
from tests.support import factories
from tests.support.servers import RedisServer, running_app
from tests.support.streams import Sent, open_stream
from tests.support.waiting import wait_until
from trainshed.client import Client

LIFE = [
    "submitted", "claimed", "phase_entered", "epochs_recorded", "epochs_recorded", "epochs_recorded",
    "succeeded",
]  # fmt: skip


@pytest.fixture
def worker(live_settings: Settings) -> Iterator[Database]:
    """The database as a worker has it, which tells Redis what changes."""
    announcer = ChangePublisher(live_settings)
    database = Database(live_settings.effective_database_url, committed=announcer)
    yield database
    announcer.close()
    database.dispose()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as threads:
        yield threads


def _succeed(database: Database, job_id: UUID) -> None:
    attempt = factories.claimed(database, job_id).attempt
    database.write(lambda session: attempts.enter_phase(session, attempt, Phase.TRAINING))
    factories.record(database, attempt, 3)
    factories.succeed(database, attempt, factories.make_model())


def _waiting_for(api: httpx.Client, threads: ThreadPoolExecutor, job_id: UUID) -> Future[httpx.Response]:
    """A long poll for a job's next version."""
    path = f"/v1/jobs/{job_id}"
    tag = api.get(path).headers["ETag"]
    return threads.submit(api.get, path, params={"wait": 30}, headers={"If-None-Match": tag}, timeout=40)


def test_a_stream_tells_a_jobs_life_as_it_happens_and_then_its_end(
    api: httpx.Client, worker: Database
) -> None:
    job_id = factories.submitted(worker)
    with open_stream(api, f"/v1/jobs/{job_id}/stream") as stream:
        assert next(stream).event == "submitted"
        _succeed(worker, job_id)
        rest = list(stream)

    assert [one.event for one in rest] == [*LIFE[1:], "end"]
    assert [one.id for one in rest[:-1]] == ["2", "3", "4", "5", "6", "7"]
    assert rest[1].data["data"] == {"phase": "training"}
    assert rest[2].data["data"]["epochs"] == [factories.make_epoch(0).model_dump(mode="json")]
    assert rest[-1].data == {"state": "succeeded"}


def test_a_stream_that_is_cut_at_every_event_and_resumed_has_each_event_once(
    api: httpx.Client, database: Database
) -> None:
    job_id = factories.submitted(database)
    _succeed(database, job_id)
    path, seen = f"/v1/jobs/{job_id}/stream", list[Sent]()
    while not seen or seen[-1].event != "end":
        with open_stream(api, path, seen[-1].id if seen else None) as stream:
            seen.append(next(stream))

    assert [one.event for one in seen] == [*LIFE, "end"]


def test_a_stream_is_resumed_from_another_api_process_after_a_restart(
    live_settings: Settings, worker: Database
) -> None:
    job_id = factories.submitted(worker)
    path, seen = f"/v1/jobs/{job_id}/stream", list[Sent]()
    with running_app(create_app(live_settings)) as api, open_stream(api, path) as stream:
        seen.append(next(stream))
    _succeed(worker, job_id)
    with running_app(create_app(live_settings)) as api, open_stream(api, path, seen[-1].id) as stream:
        seen += islice(stream, 2)
    with running_app(create_app(live_settings)) as api, open_stream(api, path, seen[-1].id) as stream:
        seen += stream

    assert [one.event for one in seen] == [*LIFE, "end"]


def test_the_clients_stream_tells_a_jobs_life(api: httpx.Client, worker: Database) -> None:
    job_id = factories.submitted(worker)
    with Client(str(api.base_url)) as server:
        told = server.stream(job_id)
        seqs = [next(told).seq]
        _succeed(worker, job_id)
        seqs += [event.seq for event in told]
        assert seqs == [event.seq for event in server.events(job_id)] == [1, 2, 3, 4, 5, 6, 7]
        assert server.wait(job_id).state == "succeeded"


def test_after_stands_in_for_the_last_event_id_which_goes_first(
    api: httpx.Client, database: Database
) -> None:
    job_id = factories.submitted(database)
    _succeed(database, job_id)
    path = f"/v1/jobs/{job_id}/stream"
    with open_stream(api, path, after=5) as stream:
        assert [one.id for one in stream][:-1] == ["6", "7"]
    with open_stream(api, path, "6", after=2) as stream:
        assert [one.id for one in stream][:-1] == ["7"]


def test_a_stream_ends_when_its_job_is_deleted(api: httpx.Client, database: Database) -> None:
    job_id = factories.submitted(database)
    with open_stream(api, f"/v1/jobs/{job_id}/stream") as stream:
        next(stream)
        _delete(database, job_id)
        assert [(one.event, one.data) for one in stream] == [("end", {"state": None})]


def _delete(database: Database, job_id: UUID) -> None:
    database.write(lambda session: session.execute(delete(Job).where(Job.id == job_id)))


def test_a_long_poll_is_answered_when_the_job_changes(
    api: httpx.Client, worker: Database, threads: ThreadPoolExecutor
) -> None:
    job_id = factories.submitted(worker)
    waiting = _waiting_for(api, threads, job_id)
    factories.claimed(worker, job_id)

    assert waiting.result().json()["state"] == "running"


def test_a_long_poll_without_a_tag_waits_for_the_next_change(
    api: httpx.Client, worker: Database, threads: ThreadPoolExecutor
) -> None:
    attempt = factories.running(worker)
    phases = cycle([Phase.TRAINING, Phase.EVALUATING])
    waiting = threads.submit(api.get, f"/v1/jobs/{attempt.job_id}", params={"wait": 30})

    def answered() -> bool:
        worker.write(lambda session: attempts.enter_phase(session, attempt, next(phases)))
        return waiting.done()

    wait_until(answered, "a change is told")
    assert waiting.result().status_code == 200


@pytest.mark.parametrize(("header", "status"), [("If-None-Match", 304), ("X-Nothing", 200)])
def test_a_long_poll_for_nothing_ends_in_time(
    api: httpx.Client, database: Database, header: str, status: int
) -> None:
    path = f"/v1/jobs/{factories.running(database).job_id}"
    tag = api.get(path).headers["ETag"]

    answer = api.get(path, params={"wait": 0.1}, headers={header: tag})

    assert (answer.status_code, answer.headers["ETag"]) == (status, tag)


def test_a_finished_job_is_not_waited_for(api: httpx.Client, database: Database) -> None:
    job_id = factories.cancelled(database)
    tag = api.get(f"/v1/jobs/{job_id}").headers["ETag"]

    answer = api.get(f"/v1/jobs/{job_id}", params={"wait": 30}, headers={"If-None-Match": tag}, timeout=10)

    assert answer.status_code == 304


def test_many_wait_at_once_and_the_api_answers_others(live_settings: Settings, worker: Database) -> None:
    running = [factories.running(worker) for _ in range(50)]
    with (
        running_app(create_app(live_settings)) as api,
        ThreadPoolExecutor(len(running)) as threads,
        httpx.Client(base_url=api.base_url, limits=httpx.Limits(max_connections=None)) as many,
    ):
        waiting = [_waiting_for(many, threads, attempt.job_id) for attempt in running]
        assert api.get("/readyz").status_code == 200
        for attempt in running:
            worker.write(partial(attempts.cancel_attempt, attempt=attempt))

        assert {one.result().json()["state"] for one in waiting} == {"cancelled"}


@pytest.mark.parametrize("away", ["stopped", "hanging"])
def test_while_redis_is_away_changes_are_noticed_all_the_same(
    api: httpx.Client, worker: Database, redis: RedisServer, threads: ThreadPoolExecutor, away: str
) -> None:
    job_id, other = (factories.submitted(worker) for _ in range(2))
    with open_stream(api, f"/v1/jobs/{other}/stream") as stream, open_stream(api, "/v1/stream") as all_:
        all_.begin()
        next(stream)
        waiting = _waiting_for(api, threads, job_id)
        {"stopped": redis.stop, "hanging": redis.hang}[away]()
        factories.claimed(worker, job_id)
        factories.claimed(worker, other)

        assert waiting.result().json()["state"] == "running"
        assert next(stream).event == "claimed"
        assert [next(all_).data["job_id"] for _ in range(2)] == [str(job_id), str(other)]


def test_changes_are_told_again_when_redis_is_back(
    api: httpx.Client, worker: Database, redis: RedisServer, threads: ThreadPoolExecutor
) -> None:
    redis.stop()
    job_id = factories.submitted(worker)
    waiting = _waiting_for(api, threads, job_id)
    redis.start()
    factories.claimed(worker, job_id)
    assert waiting.result().json()["state"] == "running"


def test_the_stream_of_all_jobs_begins_now_and_goes_on_from_any_event(
    api: httpx.Client, worker: Database
) -> None:
    factories.submitted(worker)
    with open_stream(api, "/v1/stream") as stream:
        assert stream.begin()
        first, second = (factories.submitted(worker) for _ in range(2))
        _succeed(worker, first)
        told = list(islice(stream, len(LIFE) + 1))
    seen: list[Sent] = []
    while len(seen) < len(told):
        with open_stream(api, "/v1/stream", seen[-1].id if seen else None, after=stream.first_id) as again:
            seen.append(next(again))

    assert seen == told
    assert [one.event for one in told if one.data["job_id"] == str(first)] == LIFE
    assert [one.event for one in told if one.data["job_id"] == str(second)] == ["submitted"]
    epochs = next(one for one in told if one.event == "epochs_recorded").data["data"]["epochs"]
    assert "val_accuracy" in epochs[0]
    assert "batch_loss" not in epochs[0]


def test_nothing_lies_between_the_list_and_the_stream_of_all_jobs(
    api: httpx.Client, worker: Database, threads: ThreadPoolExecutor
) -> None:
    barrier = Barrier(5)

    def submit_some(_: int) -> list[str]:
        barrier.wait()
        return [str(factories.submitted(worker)) for _ in range(20)]

    writing = [threads.submit(submit_some, number) for number in range(4)]
    barrier.wait()
    with open_stream(api, "/v1/stream") as stream:
        stream.begin()
        listed = {job["id"] for job in api.get("/v1/jobs", params={"limit": 200}).json()["data"]}
        made = {job_id for one in writing for job_id in one.result()}
        late = made - listed
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
def test_what_no_live_update_can_answer_is_refused(
    api: httpx.Client, database: Database, path: str, query: dict[str, Any], headers: dict[str, str]
) -> None:
    answer = api.get(f"/v1/jobs/{factories.submitted(database)}{path}", params=query, headers=headers)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] in ("after", "Last-Event-ID", "limit", "wait")


def test_a_cursor_that_no_stream_gave_is_refused(api: httpx.Client) -> None:
    answer = api.get("/v1/stream", headers={"Last-Event-ID": "yesterday"})

    assert answer.status_code == 422
    assert "is not the id of an event" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/events", "/stream"])
def test_an_unknown_job_has_neither_events_nor_a_stream(api: httpx.Client, path: str) -> None:
    answer = api.get(f"/v1/jobs/0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f{path}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/job-not-found"


def test_events_come_in_pages(api: httpx.Client, database: Database) -> None:
    job_id = factories.submitted(database)
    _succeed(database, job_id)
    path, seen = f"/v1/jobs/{job_id}/events", list[dict[str, Any]]()
    more = True
    while more:
        page = api.get(path, params={"after": seen[-1]["seq"] if seen else 0, "limit": 3}).json()
        seen += page["data"]
        more = page["has_more"]

    assert [one["type"] for one in seen] == LIFE
    assert [one["attempt"] for one in seen] == [0, 1, 1, 1, 1, 1, 1]
