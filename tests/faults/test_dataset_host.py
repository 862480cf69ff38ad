"""A dataset's host that drips, is silent or lies delays no API, no other job, no cancel and no stop."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from signal import SIGTERM
from statistics import quantiles
from time import monotonic
from typing import Any
from uuid import UUID

import httpx
import pytest

from shared.datasets import catalog
from shared.errors import CancelRequested
from shared.lifecycle import EventType, JobState
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.programs import Api, Program
from tests.support.file_server import FileServer, Response, running_file_server
from tests.support.loading_executor import BLOCKS
from tests.support.servers import RedisServer
from tests.support.sprite_files import grey_png, interlaced_png, make_images, make_labels, one_hot
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

ROWS = 100
PNG = grey_png(make_images(ROWS))
LABELS = one_hot(make_labels(ROWS)).tobytes()

HOSTILE = {
    "drips": Response(PNG, drip=(1, 1.0)),
    "drips headers": Response(PNG, drip=(1, 1.0), drips_headers=True),
    "black hole": Response(silent=True),
    "endless": Response(PNG, drip=(50_000, 0.1), endless=True),
}

LIES = {
    "wrong length": (Response(PNG, headers={"Content-Length": str(2 * len(PNG))}), "data_unavailable"),
    "wrong bytes": (Response(b"<html>Please sign in</html>"), "data_corrupt"),
    "truncated": (Response(PNG[: len(PNG) // 2]), "data_corrupt"),
    "no seventh pass": (Response(interlaced_png(make_images(65_000), passes=6)), "data_corrupt"),
    "endless": (Response(PNG, drip=(50_000, 0.1), endless=True), "data_unavailable"),
    "redirect loop": (Response(status=302, headers={"Location": "/images"}), "data_unavailable"),
}

# a job that runs for long enough to be seen, and needs no download
LONG: dict[str, Any] = {"dataset": "digits", "epochs": 500}

HostedCluster = Callable[..., AbstractContextManager[tuple[Cluster, FileServer]]]


@pytest.fixture
def hosted_cluster(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> HostedCluster:
    """Return a factory of clusters whose dataset `mnist` has a host that responds in the given way."""
    monkeypatch.setenv("NO_PROXY", "*")

    @contextmanager
    def new(response: Response, **overrides: Any) -> Iterator[tuple[Cluster, FileServer]]:
        executor = "tests.support.loading_executor:LoadingExecutor"
        with running_file_server() as host:
            urls = {
                "mnist_images_url": host.serve("/images", response),
                "mnist_labels_url": host.serve("/labels", Response(LABELS)),
            }
            with new_cluster(sqlite_url, redis.url, **{"executor": executor, **urls, **overrides}) as cluster:
                yield cluster, host

    return new


def start_download(cluster: Cluster, host: FileServer) -> UUID:
    """Submit a job that needs `mnist`, and wait until a worker has requested it from its host."""
    before = len(host.requests)
    job_id = cluster.submit(dataset="mnist", ends=JobState.CANCELLED)
    wait_until(lambda: len(host.requests) > before, "the worker requests the dataset")
    return job_id


def cancel_within(seconds: float, cluster: Cluster, *job_ids: UUID) -> None:
    started_at = monotonic()
    for job_id in job_ids:
        cluster.cancel(job_id)
    for job_id in job_ids:
        cluster.wait_for(job_id, JobState.CANCELLED)
    assert monotonic() - started_at < seconds


def stop_within(seconds: float, worker: Program) -> None:
    started_at = monotonic()
    worker.send(SIGTERM)
    assert worker.wait(timeout=60) == 0
    assert monotonic() - started_at < seconds


def is_released(cluster: Cluster, job_id: UUID) -> bool:
    """Whether a job is queued again without having counted as a lost attempt or a failure."""
    job = cluster.job(job_id)
    return (job.state, cluster.lost(job_id), job.failures) == (JobState.QUEUED, 0, 0)


@contextmanager
def measured(*apis: Api) -> Iterator[list[list[float]]]:
    """Request `/livez` of each API again and again; yield lists of the seconds that their responses took."""
    seconds: list[list[float]] = [[] for _ in apis]
    ended = threading.Event()

    def measure(api: Api, own: list[float]) -> None:
        with httpx.Client(base_url=api.url, timeout=30) as client:
            while not ended.wait(0.05):
                started_at = monotonic()
                assert client.get("/livez").is_success
                own.append(monotonic() - started_at)
                assert client.get("/readyz").is_success

    with ThreadPoolExecutor(len(apis)) as threads:
        measuring = threads.map(measure, apis, seconds)
        try:
            yield seconds
        finally:
            ended.set()
        list(measuring)


def request_samples(api: Api, count: int) -> list[int]:
    """Request samples of `mnist` so many times at once; return the statuses of the responses."""

    def request(_: int) -> int:
        return httpx.get(f"{api.url}/v1/datasets/mnist/samples", timeout=30).status_code

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(request, range(count)))


@pytest.mark.parametrize("behaviour", HOSTILE)
def test_a_hostile_dataset_host_is_noticed_only_by_the_jobs_that_need_it(
    behaviour: str, hosted_cluster: HostedCluster
) -> None:
    with hosted_cluster(HOSTILE[behaviour]) as (cluster, host):
        api, unasked, worker = cluster.api(), cluster.api(), cluster.worker(slots=2)
        downloading = start_download(cluster, host)
        with measured(api, unasked) as seconds:
            assert request_samples(api, 45) == [503] * 45
            cluster.wait_for(cluster.submit(dataset="digits"), JobState.SUCCEEDED)
            waiting = cluster.submit(dataset="mnist", ends=JobState.CANCELLED)
            cluster.wait_for_attempt(waiting, 1)

            cancel_within(2, cluster, waiting, downloading)
            both = [cluster.submit(ends=JobState.CANCELLED, **LONG) for _ in range(2)]
            for job_id in both:
                cluster.wait_for_attempt(job_id, 1, timeout=2)
            cancel_within(2, cluster, *both)

            downloading = start_download(cluster, host)
            stop_within(10, worker)
            assert is_released(cluster, downloading)
            cluster.cancel(downloading)
        # compared with an API that nobody asks for the dataset, so that a busy machine fails no test
        slow, normal = (quantiles(each, n=20)[-1] for each in seconds)
        assert slow < 0.1 + normal


@contextmanager
def downloading_process(cluster: Cluster, host: FileServer) -> Iterator[None]:
    """Download `mnist` into the cluster's cache, as another worker on its host does, until the block ends."""
    ended = threading.Event()

    def check() -> None:
        if ended.is_set():
            raise CancelRequested

    with ThreadPoolExecutor(1) as thread:
        download = thread.submit(catalog.load, "mnist", cluster.settings, check)
        wait_until(lambda: host.requests, "the dataset is requested")
        try:
            yield
        finally:
            ended.set()
        assert isinstance(download.exception(), CancelRequested)


def test_a_worker_with_tensorflow_is_ready_although_another_process_downloads_and_stops_in_time(
    hosted_cluster: HostedCluster,
) -> None:
    executor = "workers.mnist.executor:MnistExecutor"
    with hosted_cluster(HOSTILE["drips"], executor=executor, lease_s=30.0) as (cluster, host):
        with downloading_process(cluster, host):
            worker = cluster.worker()
        cancel_within(2, cluster, start_download(cluster, host))
        downloading = start_download(cluster, host)
        stop_within(10, worker)
        assert is_released(cluster, downloading)
        cluster.cancel(downloading)


@pytest.mark.parametrize("lie", LIES)
def test_a_host_that_lies_fails_the_job_with_the_reason_and_nothing_else(
    lie: str, hosted_cluster: HostedCluster
) -> None:
    response, code = LIES[lie]
    with hosted_cluster(response, download_deadline_s=3.0) as (cluster, _):
        cluster.worker()
        job_id = cluster.submit(dataset="mnist", ends=JobState.FAILED, options={"max_attempts": 1})
        job = cluster.wait_for(job_id, JobState.FAILED)
        assert job.error_code == code
        assert "/images" in str(job.error_message)
        assert [path.suffix for path in (cluster.folder / "datasets").iterdir()] == [".lock"]
        cluster.wait_for(cluster.submit(dataset="digits"), JobState.SUCCEEDED)


@pytest.mark.kills
def test_cancel_of_a_job_that_blocks_before_its_first_check_ends_it_and_frees_the_slot(
    hosted_cluster: HostedCluster,
) -> None:
    with hosted_cluster(HOSTILE["black hole"]) as (cluster, _):
        cluster.worker()
        blocked = cluster.submit(seed=BLOCKS, ends=JobState.CANCELLED)
        cluster.wait_for_attempt(blocked, 1)
        # twice the bound: in `make kills`, four processes share what may be two cores
        cancel_within(4, cluster, blocked)
        cluster.wait_for(cluster.submit(dataset="digits"), JobState.SUCCEEDED)


def test_stop_of_a_worker_whose_job_blocks_before_its_first_check_releases_the_job(
    hosted_cluster: HostedCluster,
) -> None:
    with hosted_cluster(HOSTILE["black hole"]) as (cluster, _):
        worker = cluster.worker()
        blocked = cluster.submit(seed=BLOCKS, ends=JobState.CANCELLED)
        cluster.wait_for_attempt(blocked, 1)
        stop_within(10, worker)
        assert is_released(cluster, blocked)
        assert cluster.count(blocked, EventType.RELEASED) == 1
        cluster.cancel(blocked)


def test_a_second_job_runs_while_one_blocks_before_its_first_check(hosted_cluster: HostedCluster) -> None:
    with hosted_cluster(HOSTILE["black hole"]) as (cluster, _):
        cluster.worker(slots=2)
        blocked = cluster.submit(seed=BLOCKS, ends=JobState.CANCELLED)
        cluster.wait_for_attempt(blocked, 1)
        cluster.wait_for(cluster.submit(dataset="digits"), JobState.SUCCEEDED)
        cancel_within(2, cluster, blocked)
