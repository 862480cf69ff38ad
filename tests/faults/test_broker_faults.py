"""Redis loses, duplicates and delays messages, and fails; every job is run, and none twice."""

from datetime import timedelta
from signal import SIGCONT, SIGKILL
from uuid import UUID

import pytest

from shared.broker import RUN_JOBS, celery_app
from shared.lifecycle import EventType, JobState
from shared.settings import Settings
from tests.faults.cluster import Cluster
from tests.faults.conftest import KILLS_ON_SQLITE, NewCluster
from tests.faults.programs import pass_seconds
from tests.faults.proxy import Proxy
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

LIST = "default"


def message_count(redis: RedisServer) -> int:
    with redis.client() as client:
        return int(str(client.llen(LIST)))


def lose_a_message(cluster: Cluster, redis: RedisServer) -> UUID:
    """Have Redis deliver a job's message to a worker that is killed before it reads the message."""
    victim = cluster.worker()
    for _ in range(10):
        cluster.suspend(victim)
        job_id = cluster.submit()
        with redis.client() as client:
            was_delivered = client.llen(LIST) == 0
        if was_delivered:
            victim.kill_all()
            return job_id
        # it was between two requests to Redis, and consumes the message now
        victim.send_all(SIGCONT)
        cluster.wait_for(job_id, JobState.SUCCEEDED)
    raise AssertionError("the worker did not request a message in 10 trials")


@pytest.mark.kills
def test_message_lost_with_an_idle_worker_is_sent_again(sqlite_cluster: Cluster, redis: RedisServer) -> None:
    job_id = lose_a_message(sqlite_cluster, redis)
    sqlite_cluster.worker()
    assert sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED).attempt == 1


def test_job_whose_message_was_lost_starts_within_a_round_at_the_default_settings(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    names = ("lease_s", "heartbeat_s", "reconcile_s")
    defaults = {name: Settings.model_fields[name].default for name in names}
    with new_cluster(sqlite_url, redis.url, **defaults) as cluster:
        job_id = lose_a_message(cluster, redis)
        cluster.worker()
        free_since = cluster.now()
        started_at = cluster.wait_for(job_id, JobState.SUCCEEDED).started_at
        assert started_at is not None
        assert started_at - free_since < timedelta(seconds=cluster.settings.reconcile_s + 2)


@pytest.mark.kills
def test_emptied_redis_loses_no_job(sqlite_cluster: Cluster, redis: RedisServer) -> None:
    sqlite_cluster.worker()
    job_ids = [sqlite_cluster.submit(epochs=20)]
    sqlite_cluster.wait_for_epoch(job_ids[0], 1)
    job_ids += [sqlite_cluster.submit(epochs=1, train_size=2) for _ in range(50)]
    with redis.client() as client:
        assert client.llen(LIST) > 30
        client.flushall()
    sqlite_cluster.wait_for_all()
    assert sum(sqlite_cluster.count(job_id, EventType.CLAIMED) for job_id in job_ids) == 51


def test_redis_that_is_killed_and_restarted_empty_loses_no_job(cluster: Cluster, redis: RedisServer) -> None:
    worker = cluster.worker()
    running = cluster.submit(epochs=20)
    cluster.wait_for_epoch(running, 1)
    for _ in range(50):
        cluster.submit(epochs=1, train_size=2)
    redis.stop(SIGKILL)
    cluster.wait_for(running, JobState.SUCCEEDED)
    redis.start()
    cluster.wait_for_all()
    assert worker.code is None


def test_messages_duplicated_by_a_persistent_redis_have_no_effect(
    sqlite_cluster: Cluster, redis: RedisServer
) -> None:
    persistent = ("--appendonly", "yes", "--appendfsync", "always")
    redis.stop()
    redis.start(*persistent)
    sqlite_cluster.worker()
    job_ids = [sqlite_cluster.submit(epochs=epochs) for epochs in (20, 2, 2, 2, 2)]
    sqlite_cluster.wait_for_epoch(job_ids[0], 1)
    redis.stop(SIGKILL)
    redis.start(*persistent)
    sqlite_cluster.wait_for_all()
    assert [sqlite_cluster.count(job_id, EventType.CLAIMED) for job_id in job_ids] == [1] * 5


def test_workers_take_jobs_after_redis_was_killed_repeatedly(
    sqlite_cluster: Cluster, redis: RedisServer
) -> None:
    worker = sqlite_cluster.worker()
    for _ in range(5):
        sqlite_cluster.submit(epochs=2, send=False)
        redis.stop(SIGKILL)
        redis.start()
        wait_until(
            lambda: message_count(redis) or all_claimed(sqlite_cluster),
            "a message is waiting or every job is claimed",
        )
    sqlite_cluster.wait_for_all()
    assert worker.code is None


def all_claimed(cluster: Cluster) -> bool:
    return all(cluster.job(job_id).attempt for job_id in cluster.expected)


def test_redis_that_hangs_only_delays_jobs(sqlite_cluster: Cluster, redis: RedisServer) -> None:
    sqlite_cluster.worker()
    first = sqlite_cluster.submit(epochs=20)
    sqlite_cluster.wait_for_epoch(first, 1)
    redis.hang()
    sqlite_cluster.submit(send=False)
    # longer than every timeout of the reconciler's requests
    sqlite_cluster.wait_for(first, JobState.SUCCEEDED)
    pass_seconds(6)
    redis.wake()


@pytest.mark.timeout(180)
def test_worker_whose_connection_was_dropped_silently_takes_jobs_again(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    with (
        Proxy(redis.socket) as proxy,
        new_cluster(sqlite_url, f"redis://127.0.0.1:{proxy.port}/0") as cluster,
    ):
        worker = cluster.worker()
        cluster.submit(epochs=1)

        def has_no_message() -> bool:
            return message_count(redis) == 0 < worker.logged("] received") == worker.logged("succeeded in")

        # only then would another job need a message; a slow machine's reconciler has sent a second one
        wait_until(has_no_message, "the pool process has run all jobs", timeout=30)
        proxy.drop_traffic()
        job_id = cluster.submit(send=False)
        pass_seconds(60)
        assert cluster.job(job_id).attempt == 0
        proxy.pass_new_connections()
        cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=30)
        assert worker.code is None


def test_redis_that_is_full_loses_no_job(sqlite_cluster: Cluster, redis: RedisServer) -> None:
    worker = sqlite_cluster.worker()
    with redis.client() as client:
        client.config_set("maxmemory", "1")
        job_ids = [sqlite_cluster.submit(epochs=1) for _ in range(3)]
        wait_until(lambda: worker.logged("no worker woken up"), "Redis refuses the reconciler")
        client.config_set("maxmemory", "0")
    for job_id in job_ids:
        sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED)


def test_twenty_messages_for_one_job_start_one_attempt(cluster: Cluster, redis: RedisServer) -> None:
    cluster.workers(3)
    job_id = cluster.submit(send=False)
    cluster.wake(20)
    cluster.wait_for(job_id, JobState.SUCCEEDED)
    wait_until(lambda: message_count(redis) == 0, "the other messages are consumed", timeout=20)
    assert cluster.count(job_id, EventType.CLAIMED) == 1


def test_messages_for_finished_jobs_change_nothing(cluster: Cluster, redis: RedisServer) -> None:
    cluster.worker()
    done, cancelled = cluster.submit(epochs=1), cluster.submit(epochs=1, send=False)
    cluster.cancel(cancelled)
    cluster.wait_for(done, JobState.SUCCEEDED)
    before = [cluster.job(job_id).version for job_id in (done, cancelled)]
    cluster.wake(4)
    wait_until(lambda: message_count(redis) == 0, "the messages are consumed")
    cluster.wait_for(cluster.submit(epochs=1), JobState.SUCCEEDED)
    assert [cluster.job(job_id).version for job_id in (done, cancelled)] == before


@KILLS_ON_SQLITE
@pytest.mark.parametrize("messages", [0, 1, 60])
def test_every_job_of_a_backlog_runs_once_with_any_number_of_messages(
    cluster: Cluster, redis: RedisServer, messages: int
) -> None:
    job_ids = [cluster.submit(epochs=1, train_size=2, send=False) for _ in range(30)]
    cancelled = job_ids[:20]
    for job_id in cancelled:
        cluster.cancel(job_id)
    cluster.wake(messages)
    cluster.workers(2)
    cluster.wait_for_all()
    wait_until(lambda: message_count(redis) == 0, "all messages are consumed")
    assert {cluster.count(job_id, EventType.CLAIMED) for job_id in job_ids[20:]} == {1}


@pytest.mark.parametrize(
    ("task", "arguments"),
    [(RUN_JOBS, []), (RUN_JOBS, ["no queue"]), (RUN_JOBS, ["1", "2"]), (RUN_JOBS, [None])],
)
def test_message_of_another_version_does_not_stop_the_worker(
    sqlite_cluster: Cluster, redis: RedisServer, task: str, arguments: list[object]
) -> None:
    worker = sqlite_cluster.worker()
    celery_app(sqlite_cluster.settings).send_task(task, args=arguments, queue=LIST)
    wait_until(lambda: message_count(redis) == 0, "the worker consumes the message")
    sqlite_cluster.wait_for(sqlite_cluster.submit(epochs=1), JobState.SUCCEEDED)
    assert worker.code is None


def test_worker_that_starts_before_redis_takes_jobs_when_redis_has_started(
    sqlite_cluster: Cluster, redis: RedisServer
) -> None:
    redis.stop()
    worker = sqlite_cluster.start_worker()
    wait_until(lambda: worker.logged("Redis is unavailable"), "the worker cannot connect", timeout=30)
    job_id = sqlite_cluster.submit()  # its message cannot be sent, which is not an error
    redis.start()
    sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=40)
