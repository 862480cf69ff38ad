"""The API is killed around a submit, restarted under its readers, and cut off from Redis and the database."""

from threading import Event, Thread
from time import monotonic
from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.lifecycle import JobState
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.failpoints import Moment
from tests.faults.programs import Api
from tests.support.servers import RedisServer, running_postgres
from tests.support.waiting import wait_until
from trainshed import Client

pytestmark = pytest.mark.faults


@pytest.mark.kills
def test_job_runs_whose_api_was_killed_before_it_told_the_workers(cluster: Cluster) -> None:
    api = cluster.api()
    cluster.arm("submitted", Moment.AFTER)
    with pytest.raises(httpx.TransportError):
        api.submit()
    [job_id] = cluster.expect_what_is_stored()
    cluster.worker()
    assert cluster.wait_for(job_id, JobState.SUCCEEDED).attempt == 1


@pytest.mark.kills
@pytest.mark.parametrize(("moment", "stored"), [(Moment.BEFORE, 0), (Moment.AFTER, 1)])
def test_request_that_is_repeated_after_a_kill_makes_one_job(
    sqlite_cluster: Cluster, moment: Moment, stored: int
) -> None:
    api = sqlite_cluster.api()
    sqlite_cluster.arm("submitted", moment)
    with pytest.raises(httpx.TransportError):
        api.submit(key="one")
    assert len(sqlite_cluster.expect_what_is_stored()) == stored
    again = sqlite_cluster.api().submit(key="one")
    assert again.status_code == 202
    assert again.headers.get("Idempotency-Replayed") == ("true" if stored else None)
    assert sqlite_cluster.expect_what_is_stored() == [UUID(again.json()["id"])]
    sqlite_cluster.worker()


def test_request_that_is_repeated_after_a_kill_makes_one_job_on_postgresql(
    new_cluster: NewCluster, redis: RedisServer, postgresql_url: str
) -> None:
    with new_cluster(postgresql_url, redis.url) as cluster:
        api = cluster.api()
        cluster.arm("submitted", Moment.AFTER)
        with pytest.raises(httpx.TransportError):
            api.submit(key="one")
        assert cluster.api().submit(key="one").headers["Idempotency-Replayed"] == "true"
        assert len(cluster.expect_what_is_stored()) == 1
        cluster.worker()


@pytest.mark.parametrize("outage", ["gone", "silent"])
def test_submit_is_accepted_within_3_s_while_redis_is_away(
    sqlite_cluster: Cluster, redis: RedisServer, outage: str
) -> None:
    api = sqlite_cluster.api()
    sqlite_cluster.worker()
    if outage == "gone":
        redis.stop()
    else:
        redis.hang()
    begun = monotonic()
    job_id = UUID(api.submit().json()["id"])
    assert monotonic() - begun < 3
    if outage == "gone":
        redis.start()
    else:
        redis.wake()
    sqlite_cluster.expect_what_is_stored()
    sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=45)


def test_submits_during_an_outage_of_the_database_are_refused_or_kept(
    new_cluster: NewCluster, redis: RedisServer
) -> None:
    with running_postgres() as postgres:
        postgres.execute("CREATE DATABASE faults")
        with new_cluster(postgres.url("faults"), redis.url) as cluster:
            cluster.database.migrate()
            api = cluster.api()
            cluster.worker()
            accepted = [UUID(api.submit(key="0").json()["id"])]
            postgres.stop()
            refused = api.submit(key="1", timeout=20)
            assert refused.status_code == 503
            postgres.start()
            again = wait_until(lambda: accepted_by(api, "1"), "the API answers again", timeout=20)
            cluster.expect_what_is_stored()
            assert set(cluster.expected) == {*accepted, UUID(again["id"])}


def accepted_by(api: Api, key: str) -> dict[str, Any] | None:
    answer = api.submit(key=key, timeout=20)
    return dict(answer.json()) if answer.status_code == 202 else None


def test_a_stream_has_no_gap_and_no_repeat_while_the_api_is_restarted(sqlite_cluster: Cluster) -> None:
    api = sqlite_cluster.api()
    sqlite_cluster.worker()
    job_id = sqlite_cluster.submit(epochs=60)
    told: list[int] = []

    def read() -> None:
        with Client(api.url, patience_s=60) as server:
            told.extend(event.seq for event in server.stream(job_id))

    reader = Thread(target=read)
    reader.start()
    for _ in range(3):
        seen = len(told)
        wait_until(lambda seen=seen: len(told) > seen + 2, "the stream goes on", timeout=30)  # type: ignore[misc]
        api.program.kill_all()
        api = sqlite_cluster.api(api.port)
    ended = sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED)
    reader.join(timeout=30)
    assert told == list(range(1, ended.version + 1))


def test_readers_see_no_gap_while_the_api_is_restarted(sqlite_cluster: Cluster) -> None:
    api = sqlite_cluster.api()
    sqlite_cluster.worker()
    job_id = sqlite_cluster.submit(epochs=20)
    seen: list[list[float]] = []
    ended = Event()

    def poll() -> None:
        while not ended.is_set():
            try:
                series = api.get(f"jobs/{job_id}/metrics?resolution=epoch")["series"]
            except httpx.HTTPError:
                continue
            seen.append(next((curve["y"] for curve in series if curve["name"] == "loss"), []))

    reader = Thread(target=poll)
    reader.start()
    for _ in range(3):
        served = len(seen)
        wait_until(lambda served=served: len(seen) > served, "the API serves the curve", timeout=30)  # type: ignore[misc]
        api.program.kill_all()
        api = sqlite_cluster.api(api.port)
    sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED)
    wait_until(lambda: seen and len(seen[-1]) == 20, "the whole curve is served")
    ended.set()
    reader.join()
    assert all(curve == seen[-1][: len(curve)] for curve in seen)
    assert [len(curve) for curve in seen] == sorted(len(curve) for curve in seen)
