"""The memory of an API process is bounded, whatever its clients ask of it for however long."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from random import Random
from threading import Event, Thread
from uuid import UUID

import httpx
import psutil
import pytest
from PIL import Image

from shared.formats.results import KERAS_FILE, ONNX_FILE
from shared.schemas import TrainSpec
from shared.settings import Settings
from tests.faults.client_histories import ClientHistory, Operation
from tests.faults.clients import RandomClient, stop
from tests.faults.cluster import Cluster, fast_settings
from tests.faults.programs import Api, pass_seconds, training
from tests.support import factories, queue_driver, registry
from tests.support.drawings import make_drawing
from tests.support.onnx_models import make_counting_onnx
from tests.support.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

ROUND_S = 10.0
ROUNDS = 3
MOST_MB = 250.0  # more than an idle process has; 64 images as numbers take 10 MB while they are parsed
LEAKED_MB = 25.0  # in the last round more than in those before: the kept responses of its jobs take a few
WEIGHTS = {Operation.READ: 6.0, Operation.SUBMIT: 3.0, Operation.CANCEL: 1.0, Operation.RETRY: 1.0}


class Load:
    """Clients that submit, poll, follow streams and have images classified, until they are stopped."""

    def __init__(self, url: str, job_id: UUID) -> None:
        self._url, self._job_id = url, job_id
        self._stop_requested = Event()
        self._random_clients = [
            RandomClient(
                f"round-{id(self)}-{number}", ClientHistory(), [url], Random(number), WEIGHTS, 0.01, _spec
            )
            for number in range(4)
        ]
        acts = [self._predict, self._predict_many, self._follow_all, self._follow_one] * 2
        self._threads = [Thread(target=self._repeat, args=[act], daemon=True) for act in acts]
        self.counts = dict.fromkeys([act.__name__ for act in acts], 0)
        self.statuses: set[int] = set()

    def __enter__(self) -> "Load":
        for thread in [*self._random_clients, *self._threads]:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_requested.set()
        stop(self._random_clients)
        for thread in self._threads:
            thread.join()

    def _repeat(self, act: Callable[[httpx.Client], httpx.Response]) -> None:
        with httpx.Client(base_url=f"{self._url}/v1", timeout=30, trust_env=False) as client:
            while not self._stop_requested.is_set():
                self.statuses.add(act(client).status_code)
                self.counts[act.__name__] += 1

    def _predict(self, client: httpx.Client) -> httpx.Response:
        headers = {"Content-Type": "image/png"}
        return client.post("models/champion/predict", content=_png(), headers=headers)

    def _predict_many(self, client: httpx.Client) -> httpx.Response:
        images = [make_drawing(28).tolist()] * 64
        scaled = [[[pixel / 255 for pixel in row] for row in image] for image in images]
        return client.post("models/champion/predict", json={"images": scaled})

    def _follow_all(self, client: httpx.Client) -> httpx.Response:
        return self._follow(client, "stream", "0")

    def _follow_one(self, client: httpx.Client) -> httpx.Response:
        return self._follow(client, f"jobs/{self._job_id}/stream", "0")

    def _follow(self, client: httpx.Client, path: str, last_id: str) -> httpx.Response:
        """Read the first lines of a stream, and hang up."""
        with client.stream("GET", path, headers={"Last-Event-ID": last_id}) as response:
            for number, _ in enumerate(response.iter_lines()):
                if number > 20:
                    break
        return response


def _spec(random: Random) -> TrainSpec:
    return training(seed=random.randrange(1_000))


def _png() -> bytes:
    file = BytesIO()
    Image.fromarray(make_drawing(1_000)).save(file, "PNG")
    return file.getvalue()


class PeakMemory(Thread):
    """Watches the resident memory of a process, in MB of 10**6 bytes."""

    def __init__(self, api: Api) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(api.program.pid)
        self._ended = Event()
        self.peak = self.now()

    def now(self) -> float:
        return float(self._process.memory_info().rss) / 1e6

    def run(self) -> None:
        while not self._ended.wait(0.02):
            self.peak = max(self.peak, self.now())

    def __enter__(self) -> "PeakMemory":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


@pytest.fixture
def cluster(tmp_path: Path, redis: RedisServer, sqlite_url: str) -> Iterator[Cluster]:
    """A cluster whose jobs nobody runs, so that the oracle has nothing to check."""
    settings = fast_settings(data_dir=tmp_path, database_url=sqlite_url, redis_url=redis.url)
    with Cluster(tmp_path, Settings(**settings)) as cluster:
        yield cluster


def test_load_of_any_length_leaves_the_memory_of_an_api_bounded(cluster: Cluster) -> None:
    job_id = _store_champion(cluster)
    api = cluster.api()
    peaks = []
    with PeakMemory(api) as memory:
        idle = memory.now()
        for _ in range(ROUNDS):
            with Load(api.url, job_id) as load:
                pass_seconds(ROUND_S)
            assert all(load.counts.values())
            assert 200 in load.statuses <= {200, 503}
            peaks.append(memory.peak)
    assert peaks[-1] - idle < MOST_MB, (idle, peaks)
    assert peaks[-1] - peaks[-2] < LEAKED_MB, (idle, peaks)


def _store_champion(cluster: Cluster) -> UUID:
    """Store a job that has succeeded, and its model under an alias; return the job's id."""
    model = factories.make_model(files={KERAS_FILE: b"none", ONNX_FILE: make_counting_onnx()})
    attempt = queue_driver.running(cluster.database)
    queue_driver.succeed(cluster.database, attempt, model)
    registry.change_model(cluster.database, model.id, alias="champion")
    return attempt.job_id
