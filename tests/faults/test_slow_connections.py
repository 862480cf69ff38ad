"""A database, a Redis and a dataset's host that are far away, behind thin lines that slice the traffic."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.datasets import catalog
from shared.lifecycle import JobState
from shared.schemas.sprite_sources import SpriteSource
from shared.settings import Settings
from tests.faults.conftest import NewCluster
from tests.faults.proxy import Proxy
from tests.support.file_server import Response, running_file_server
from tests.support.servers import PostgresServer, RedisServer
from tests.support.sprite_files import grey_png, make_images, make_labels, one_hot

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]

TRAIN, TEST = 40, 10


@pytest.fixture
def distant_redis(redis: RedisServer) -> Iterator[str]:
    with Proxy(redis.socket, delay_s=0.05, bytes_per_s=100_000, slice_bytes=7) as proxy:
        yield f"redis://127.0.0.1:{proxy.port}/0"


@pytest.fixture
def distant_postgresql(postgres_server: PostgresServer, postgresql_url: str) -> Iterator[str]:
    database = postgresql_url.partition("?")[0].rpartition("/")[2]
    with Proxy(postgres_server.socket, delay_s=0.01, bytes_per_s=1_000_000, slice_bytes=100) as proxy:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/{database}"


def test_jobs_run_once_over_slow_and_sliced_connections(
    new_cluster: NewCluster, distant_postgresql: str, distant_redis: str
) -> None:
    with new_cluster(distant_postgresql, distant_redis, lease_s=6.0) as cluster:
        api = cluster.api()
        cluster.workers(2)
        answers = [api.submit(key=f"job-{number}", seed=number) for number in range(4)]
        assert {answer.status_code for answer in answers} == {202}
        for job_id in cluster.expect_stored_jobs():
            assert cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=60).attempt == 1


def test_a_dataset_that_arrives_in_slices_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    images, labels = make_images(TRAIN + TEST), make_labels(TRAIN + TEST)
    with running_file_server() as server:
        server.serve("/images", Response(grey_png(images)))
        server.serve("/labels", Response(one_hot(labels).tobytes()))
        host, _, port = server.url("").removeprefix("http://").partition(":")
        with Proxy((host, int(port)), delay_s=0.05, bytes_per_s=100_000, slice_bytes=333) as proxy:
            files = [f"http://127.0.0.1:{proxy.port}/{name}" for name in ("images", "labels")]
            source = SpriteSource(images_url=files[0], labels_url=files[1], train_rows=TRAIN, test_rows=TEST)
            dataset = catalog.load("small", Settings(data_dir=tmp_path, datasets={"small": source}))
    np.testing.assert_array_equal(dataset.train_images, images[:TRAIN])
    np.testing.assert_array_equal(dataset.test_labels, labels[TRAIN:])
