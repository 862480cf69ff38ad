"""Requests that wait for a change of a job."""

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from threading import Event
from uuid import UUID

import httpx
import pytest
from sqlalchemy.orm import Session

from api.app import create_app
from shared.db.engine import Database
from shared.lifecycle import JobState, Phase
from shared.settings import Settings
from shared.store import job_queries
from tests.support import factories, queue_driver
from tests.support.servers import RedisServer, running_app
from tests.support.streams import long_poll
from tests.support.waiting import wait_until


def test_a_long_poll_returns_when_the_job_changes(
    api: httpx.Client, publishing_database: Database, threads: ThreadPoolExecutor
) -> None:
    job_id = queue_driver.submit(publishing_database)
    waiting = long_poll(api, threads, job_id)
    queue_driver.claim(publishing_database, job_id)

    assert waiting.result().json()["state"] == "running"


def test_a_long_poll_without_an_etag_waits_for_the_next_change(
    api: httpx.Client, publishing_database: Database, threads: ThreadPoolExecutor
) -> None:
    attempt = queue_driver.running(publishing_database)
    phases = cycle([Phase.TRAINING, Phase.EVALUATING])
    waiting = threads.submit(api.get, f"/v1/jobs/{attempt.job_id}", params={"wait": 30})

    def change_and_check() -> bool:
        queue_driver.record_progress(publishing_database, attempt, factories.make_progress(next(phases)))
        return waiting.done()

    wait_until(change_and_check, "the long poll returns")
    assert waiting.result().status_code == 200


@pytest.mark.parametrize("redis_runs", [True, False])
def test_polls_show_the_steps_of_an_epoch_that_goes_on(
    api: httpx.Client,
    publishing_database: Database,
    redis: RedisServer,
    threads: ThreadPoolExecutor,
    redis_runs: bool,
) -> None:
    if not redis_runs:
        redis.stop()
    attempt = queue_driver.running(publishing_database)
    path = f"/v1/jobs/{attempt.job_id}"
    waiting, before = long_poll(api, threads, attempt.job_id), api.get(path)
    begun = factories.make_epoch(0, steps={"loss": [0.5]})
    queue_driver.record_progress(publishing_database, attempt, factories.make_progress(running=begun))
    assert waiting.result().json()["progress"]["step"] == 1
    tag = {"If-None-Match": before.headers["ETag"]}
    wait_until(lambda: api.get(path, headers=tag).status_code == 200, "a poll shows the step")
    after = api.get(path).json()
    assert (after["progress"]["step"], after["version"]) == (1, before.json()["version"])
    assert after["progress"]["percent"] == pytest.approx(100 / 6)
    [series] = api.get(f"{path}/metrics", params={"resolution": "step"}).json()["series"]
    assert (series["name"], series["x"], series["y"]) == ("loss", [0], [0.5])
    assert api.get(f"{path}/metrics").json()["series"] == []


def test_a_long_poll_for_the_end_is_answered_then_and_by_no_change_before(
    api: httpx.Client, publishing_database: Database, threads: ThreadPoolExecutor
) -> None:
    attempt = queue_driver.running(publishing_database)
    path = f"/v1/jobs/{attempt.job_id}"
    options: dict[str, str | int] = {"wait": 30, "until": "end"}
    waiting = threads.submit(api.get, path, params=options, timeout=40)
    queue_driver.record(publishing_database, attempt, 3)
    other = long_poll(api, threads, attempt.job_id)
    queue_driver.record(publishing_database, attempt, 1, first=3)
    assert other.result().json()["state"] == "running"  # the change was announced
    assert not waiting.done()
    queue_driver.succeed(publishing_database, attempt, factories.make_model())
    assert waiting.result().json()["state"] == "succeeded"
    assert api.get(path, params=options).json()["state"] == "succeeded"


def test_a_long_poll_for_the_end_of_a_job_that_goes_on_ends_after_its_wait(
    api: httpx.Client, database: Database
) -> None:
    path = f"/v1/jobs/{queue_driver.running(database).job_id}"
    response = api.get(path, params={"wait": 0.1, "until": "end"})
    assert (response.status_code, response.json()["state"]) == (200, "running")
    tag = {"If-None-Match": response.headers["ETag"]}
    assert api.get(path, params={"wait": 0.1, "until": "end"}, headers=tag).status_code == 304
    assert api.get(path, params={"wait": 0.1, "until": "then"}).status_code == 422


def test_a_long_poll_for_the_end_is_answered_without_redis(
    api: httpx.Client,
    database: Database,
    redis: RedisServer,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redis.stop()
    attempt, has_read, read = queue_driver.running(database), Event(), job_queries.state_and_version

    def recorded(session: Session, job_id: UUID) -> tuple[JobState, int]:
        state = read(session, job_id)
        has_read.set()
        return state

    monkeypatch.setattr(job_queries, "state_and_version", recorded)
    options: dict[str, str | int] = {"wait": 30, "until": "end"}
    waiting = threads.submit(api.get, f"/v1/jobs/{attempt.job_id}", params=options, timeout=40)
    assert has_read.wait(10)
    queue_driver.succeed(database, attempt, factories.make_model())

    assert waiting.result(20).json()["state"] == "succeeded"


@pytest.mark.parametrize(("header", "status"), [("If-None-Match", 304), ("X-Nothing", 200)])
def test_a_long_poll_without_a_change_ends_after_its_wait(
    api: httpx.Client, database: Database, header: str, status: int
) -> None:
    path = f"/v1/jobs/{queue_driver.running(database).job_id}"
    tag = api.get(path).headers["ETag"]

    response = api.get(path, params={"wait": 0.1}, headers={header: tag})

    assert (response.status_code, response.headers["ETag"]) == (status, tag)


def test_a_long_poll_for_a_finished_job_returns_immediately(api: httpx.Client, database: Database) -> None:
    job_id = queue_driver.cancelled(database)
    tag = api.get(f"/v1/jobs/{job_id}").headers["ETag"]

    response = api.get(f"/v1/jobs/{job_id}", params={"wait": 30}, headers={"If-None-Match": tag}, timeout=10)

    assert response.status_code == 304


def test_many_concurrent_long_polls_do_not_block_other_requests(
    live_settings: Settings, publishing_database: Database
) -> None:
    running = [queue_driver.running(publishing_database) for _ in range(50)]
    with (
        running_app(create_app(live_settings)) as api,
        ThreadPoolExecutor(len(running)) as threads,
        httpx.Client(base_url=api.base_url, limits=httpx.Limits(max_connections=None)) as client,
    ):
        waiting = [long_poll(client, threads, attempt.job_id) for attempt in running]
        assert api.get("/readyz").status_code == 200
        for attempt in running:
            queue_driver.report_cancelled(publishing_database, attempt)

        assert {poll.result().json()["state"] for poll in waiting} == {"cancelled"}
