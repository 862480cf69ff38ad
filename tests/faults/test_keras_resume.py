"""Real training that is killed and resumed has the epochs and weights of its golden run."""

from typing import Any

import pytest
from uuid_utils.compat import uuid7

from shared.lifecycle import JobState
from tests.faults import oracle
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.failpoints import Moment
from tests.support.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

MNIST_EXECUTOR = "workers.mnist.executor:MnistExecutor"


def real_job(cluster: Cluster, seed: int, **options: Any) -> Any:
    """Submit a job on real digits that takes seconds: it is not over when some epochs are recorded."""
    return cluster.submit(
        dataset="digits",
        epochs=8,
        train_size=1_000,
        validation_size=200,
        evaluation_size=190,
        batch_size=2,
        seed=seed,
        **options,
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_real_training_resumes_bit_for_bit(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str, seed: int
) -> None:
    with new_cluster(
        sqlite_url, redis.url, executor=MNIST_EXECUTOR, lease_s=6.0, heartbeat_s=1.5, max_lost_attempts=20
    ) as cluster:
        worker = cluster.worker()
        golden_id = real_job(cluster, seed)
        cluster.wait_for(golden_id, JobState.SUCCEEDED, timeout=300)
        golden = cluster.database.read(lambda session: oracle.stored_run(session, golden_id))
        cluster.golden = lambda _: golden
        for moment in Moment:
            job_id = uuid7()
            failpoint = cluster.arm("epochs", moment, nth=1, job_id=job_id)
            real_job(cluster, seed, options={"id": job_id})
            failpoint.wait(timeout=180)
        for epochs in (1, 2, 3):
            job_id = real_job(cluster, seed)
            cluster.wait_for_epoch(job_id, epochs, timeout=180)
            for child in worker.pool():
                child.kill()
        cluster.wait_for_all(timeout=400)
        assert sum(map(cluster.lost, cluster.expected)) >= 4
