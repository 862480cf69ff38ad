"""Clients of several API processes at once: what they see of each job has an order, and memory is bounded."""

from collections.abc import Iterator
from contextlib import suppress
from random import Random

import pytest

from shared.errors import JobAlreadyFinished
from shared.lifecycle import JobState
from shared.schemas import TrainSpec
from tests.faults.client_histories import ClientHistory, Operation
from tests.faults.clients import RandomClient, stop
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.programs import pass_seconds, training
from tests.faults.proxy import Proxy
from tests.support.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

APIS = 2
CLIENTS = 4
LOAD_S = 10.0
WEIGHTS = {
    Operation.READ: 10.0,
    Operation.SUBMIT: 2.0,
    Operation.CANCEL: 2.0,
    Operation.RETRY: 1.0,
    Operation.DELETE: 1.0,
}


def short_training(random: Random) -> TrainSpec:
    return training(epochs=random.randint(1, 3), seed=random.randrange(1_000))


@pytest.fixture
def slow_redis(redis: RedisServer) -> Iterator[str]:
    """The address of a Redis whose announcements arrive late: processes keep what is old for longer."""
    with Proxy(redis.socket, delay_s=0.4, slice_bytes=100) as proxy:
        yield f"redis://127.0.0.1:{proxy.port}/0"


def test_what_clients_of_two_processes_see_of_each_job_has_an_order(
    new_cluster: NewCluster, slow_redis: str, database_url: str
) -> None:
    history = ClientHistory()
    with new_cluster(database_url, slow_redis) as cluster:
        urls = [cluster.api().url for _ in range(APIS)]
        cluster.worker(slots=2)
        clients = [
            RandomClient(f"client-{number}", history, urls, Random(number), WEIGHTS, 0.02, short_training)
            for number in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        pass_seconds(LOAD_S)
        stop(clients)
        history.check()
        statuses = {request.status for request in history.requests}
        assert {200, 202, 304} <= statuses
        assert 500 not in statuses
        _cancel_unfinished(cluster)


def _cancel_unfinished(cluster: Cluster) -> None:
    """End the jobs that the clients left, and expect the end that each has."""
    job_ids = cluster.expect_stored_jobs()
    for job_id in job_ids:
        with suppress(JobAlreadyFinished):
            cluster.cancel(job_id)
    cluster.wait_for_all()
    for job_id in job_ids:
        cluster.expected[job_id] = JobState(cluster.job(job_id).state)
