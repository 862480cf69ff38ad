"""The API is killed during a submit, restarted while clients read, and loses Redis and the database."""

from collections.abc import Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from threading import Event, Thread
from time import monotonic
from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.lifecycle import JobState
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.failpoints import SUBMIT_WAIT_S, Action, Moment
from tests.faults.programs import Api, pass_seconds
from tests.support import queue_driver
from tests.support.servers import RedisServer, running_postgres
from tests.support.waiting import wait_until
from trainshed import Client

pytestmark = pytest.mark.faults


_GROUP = 12
_PATIENT = {SUBMIT_WAIT_S: "9"}
_CLIENTS = 16
_SHORT: dict[str, Any] = {"epochs": 1, "train_size": 2}  # the spec of a job that takes 20 ms


def has_more(values: Sized, count: int) -> bool:
    """Return whether there are more than `count` values."""
    return len(values) > count


def wait_until_submits_wait(api: Api, count: int) -> None:
    """Wait until this many clients have submitted and wait for the commit that a failpoint holds."""
    wait_until(lambda: api.connections() >= count, f"{count} clients are connected")
    pass_seconds(0.2)  # until their requests are read; these submits give up after 9 s


def submit_if_accepted(api: Api, key: str, **spec: Any) -> dict[str, Any] | None:
    """Submit a job with this key; return None if the API has no database, or waits for it too long."""
    response = api.submit(key=key, timeout=20, **spec)
    assert response.status_code in (202, 503)
    return dict(response.json()) if response.status_code == 202 else None


def submit_until_accepted(api: Api, key: str, **spec: Any) -> dict[str, Any]:
    accepted = partial(submit_if_accepted, api, key, **spec)
    return wait_until(accepted, "the API accepts the job", timeout=20)


@pytest.mark.kills
def test_job_runs_although_the_api_was_killed_before_it_sent_the_message(cluster: Cluster) -> None:
    api = cluster.api()
    cluster.arm("submitted", Moment.AFTER)
    with pytest.raises(httpx.TransportError):
        api.submit()
    [job_id] = cluster.expect_stored_jobs()
    cluster.worker()
    assert cluster.wait_for(job_id, JobState.SUCCEEDED).attempt == 1


@pytest.mark.kills
@pytest.mark.parametrize(("moment", "stored"), [(Moment.BEFORE, 0), (Moment.AFTER, 1)])
def test_submit_retried_after_a_kill_creates_one_job(
    sqlite_cluster: Cluster, moment: Moment, stored: int
) -> None:
    api = sqlite_cluster.api()
    sqlite_cluster.arm("submitted", moment)
    with pytest.raises(httpx.TransportError):
        api.submit(key="one")
    assert len(sqlite_cluster.expect_stored_jobs()) == stored
    retried = sqlite_cluster.api().submit(key="one")
    assert retried.status_code == 202
    assert retried.headers.get("Idempotency-Replayed") == ("true" if stored else None)
    assert sqlite_cluster.expect_stored_jobs() == [UUID(retried.json()["id"])]
    sqlite_cluster.run_jobs()


@pytest.mark.kills
@pytest.mark.parametrize("moment", list(Moment))
def test_a_kill_within_a_group_loses_no_answered_submit_and_doubles_none(
    cluster: Cluster, moment: Moment
) -> None:
    api = cluster.api(environment=_PATIENT)
    held = cluster.arm("submitted", Moment.BEFORE, Action.HOLD)
    group_held = cluster.arm("submitted", Moment.BEFORE, Action.HOLD, nth=2)
    killed = cluster.arm("submitted", moment, nth=2)
    answers: dict[str, UUID] = {}

    def submit(key: str) -> None:
        with suppress(httpx.TransportError):
            answers[key] = UUID(api.submit(key=key, **_SHORT).json()["id"])

    keys = [str(number) for number in range(_GROUP + 1)]
    with ThreadPoolExecutor(len(keys)) as threads:
        threads.submit(submit, keys[0])
        held.wait()
        threads.map(submit, keys[1:])
        wait_until_submits_wait(api, len(keys))
        held.release()
        wait_until(lambda: answers, "the first submit is answered")
        group_held.release()
        killed.wait()
    assert list(answers) == [keys[0]]
    assert len(cluster.expect_stored_jobs()) == 1 + (_GROUP if moment == Moment.AFTER else 0)

    restarted = cluster.api()
    again = {key: UUID(restarted.submit(key=key, **_SHORT).json()["id"]) for key in keys}

    assert again.items() >= answers.items()
    assert sorted(again.values()) == sorted(cluster.expect_stored_jobs())
    cluster.run_jobs()


@pytest.mark.timeout(300)
def test_an_api_killed_among_concurrent_submits_has_stored_each_that_it_answered(
    new_cluster: NewCluster, redis: RedisServer, database_url: str
) -> None:
    answers: dict[str, UUID] = {}
    sent: list[str] = []
    numbers = count()

    def submit_until_it_is_killed(api: Api) -> None:
        with suppress(httpx.TransportError):
            while True:
                sent.append(key := str(next(numbers)))
                if job := submit_if_accepted(api, key, **_SHORT):
                    answers[key] = UUID(job["id"])

    with new_cluster(database_url, redis.url, rate_limit=0) as cluster:
        for answered in (1, 60):  # in all, when the API is killed
            api = cluster.api()
            with ThreadPoolExecutor(_CLIENTS) as threads:
                clients = [threads.submit(submit_until_it_is_killed, api) for _ in range(_CLIENTS)]
                wait_until(partial(has_more, answers, answered), "the API answers", timeout=30)
                api.program.kill_all()
            assert [client.result() for client in clients] == [None] * _CLIENTS
            assert set(answers.values()) <= set(cluster.expect_stored_jobs())
        assert len(answers) < len(sent)  # some were sent and not answered

        restarted = cluster.api()
        again = {key: UUID(submit_until_accepted(restarted, key, **_SHORT)["id"]) for key in sent}

        assert again.items() >= answers.items()
        assert sorted(again.values()) == sorted(cluster.expect_stored_jobs())
        cluster.worker(slots=2)


@pytest.mark.kills
def test_a_submit_in_a_group_that_the_database_refuses_fails_alone(cluster: Cluster) -> None:
    deleted = cluster.submit(send=False)
    cluster.cancel(deleted)
    api = cluster.api(environment=_PATIENT)
    held = cluster.arm("submitted", Moment.AFTER, Action.HOLD)
    with ThreadPoolExecutor(_GROUP + 1) as threads:
        first = threads.submit(api.submit, key="first", **_SHORT)
        held.wait()
        others = [threads.submit(api.submit, key=str(number), **_SHORT) for number in range(_GROUP - 2)]
        reuse = threads.submit(api.submit, key="first", epochs=2)
        retry = threads.submit(api.post, f"jobs/{deleted}/retry")
        wait_until_submits_wait(api, _GROUP + 1)
        # what the retry refers to exists no more when it is stored
        queue_driver.delete(cluster.database, deleted)
        del cluster.expected[deleted]
        held.release()
    accepted = [future.result() for future in (first, *others)]
    assert {answer.status_code for answer in accepted} == {202}
    assert reuse.result().status_code == 422
    assert retry.result().is_error
    assert {UUID(answer.json()["id"]) for answer in accepted} == set(cluster.expect_stored_jobs())
    cluster.run_jobs()


def test_submit_retried_after_a_kill_creates_one_job_on_postgresql(
    new_cluster: NewCluster, redis: RedisServer, postgresql_url: str
) -> None:
    with new_cluster(postgresql_url, redis.url) as cluster:
        api = cluster.api()
        cluster.arm("submitted", Moment.AFTER)
        with pytest.raises(httpx.TransportError):
            api.submit(key="one")
        assert cluster.api().submit(key="one").headers["Idempotency-Replayed"] == "true"
        assert len(cluster.expect_stored_jobs()) == 1
        cluster.worker()


@pytest.mark.parametrize("outage", ["gone", "silent"])
def test_submit_is_accepted_within_3_s_while_redis_is_unavailable(
    sqlite_cluster: Cluster, redis: RedisServer, outage: str
) -> None:
    api = sqlite_cluster.api()
    sqlite_cluster.worker()
    if outage == "gone":
        redis.stop()
    else:
        redis.hang()
    started_at = monotonic()
    job_id = UUID(api.submit().json()["id"])
    assert monotonic() - started_at < 3
    if outage == "gone":
        redis.start()
    else:
        redis.wake()
    sqlite_cluster.expect_stored_jobs()
    sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=45)


def test_submits_during_an_outage_of_the_database_are_refused_or_stored(
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
            retried = submit_until_accepted(api, "1")
            cluster.expect_stored_jobs()
            assert set(cluster.expected) == {*accepted, UUID(retried["id"])}


def test_a_stream_has_no_gap_and_no_duplicate_while_the_api_is_restarted(sqlite_cluster: Cluster) -> None:
    api = sqlite_cluster.api()
    sqlite_cluster.worker()
    job_id = sqlite_cluster.submit(epochs=60)
    received: list[int] = []

    def read() -> None:
        with Client(api.url, patience_s=60) as server:
            received.extend(event.seq for event in server.stream(job_id))

    reader = Thread(target=read)
    reader.start()
    for _ in range(3):
        count = len(received)
        wait_until(partial(has_more, received, count + 2), "the stream continues", timeout=30)
        api.program.kill_all()
        api = sqlite_cluster.api(api.port)
    ended = sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED)
    reader.join(timeout=30)
    assert received == list(range(1, ended.version + 1))


def test_metrics_have_no_gap_while_the_api_is_restarted(sqlite_cluster: Cluster) -> None:
    api = sqlite_cluster.api()
    sqlite_cluster.worker()
    job_id = sqlite_cluster.submit(epochs=20)
    responses: list[list[float]] = []
    ended = Event()

    def poll() -> None:
        while not ended.is_set():
            try:
                series = api.get(f"jobs/{job_id}/metrics?resolution=epoch")["series"]
            except httpx.HTTPError:
                continue
            responses.append(next((metric["y"] for metric in series if metric["name"] == "loss"), []))

    reader = Thread(target=poll)
    reader.start()
    for _ in range(3):
        count = len(responses)
        wait_until(partial(has_more, responses, count), "the API serves the metrics", timeout=30)
        api.program.kill_all()
        api = sqlite_cluster.api(api.port)
    sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED)
    wait_until(lambda: responses and len(responses[-1]) == 20, "all epochs are served")
    ended.set()
    reader.join()
    assert all(losses == responses[-1][: len(losses)] for losses in responses)
    assert [len(losses) for losses in responses] == sorted(len(losses) for losses in responses)
