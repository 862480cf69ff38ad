"""The API's memory is bounded, whatever is uploaded, and is given back."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import httpx
import psutil
import pytest

from shared.formats.results import KERAS_FILE, ONNX_FILE
from tests.faults.cluster import Cluster
from tests.faults.programs import Api
from tests.support import factories, queue_driver
from tests.support.hostile_images import hostile_images
from tests.support.onnx_models import make_counting_onnx

pytestmark = pytest.mark.faults

REQUESTS = 40
MIB = 2**20
MAX_PEAK = 400 * MIB
MAX_KEPT = 60 * MIB


@pytest.fixture
def api(tmp_path: Path, sqlite_url: str) -> Iterator[Api]:
    """An API that has predicted once, by the model `champion`, and so has loaded its libraries."""
    settings = factories.make_settings(tmp_path, database_url=sqlite_url)
    with Cluster(tmp_path, settings) as cluster:
        files = {KERAS_FILE: b"", ONNX_FILE: make_counting_onnx()}
        model = factories.make_model(files=files)
        queue_driver.succeed(cluster.database, queue_driver.running(cluster.database), model)
        api = cluster.api()
        httpx.patch(f"{api.url}/v1/models/{model.id}", json={"alias": "champion"}).raise_for_status()
        assert _predict(api, "warm-up", hostile_images()["texts"][:0]) == 422
        blank = [[[0] * 28] * 28]
        httpx.post(f"{api.url}/v1/models/champion/predict", json={"images": blank}).raise_for_status()
        yield api


def _predict(api: Api, name: str, file: bytes) -> int:
    media_type = "image/jpeg" if name.startswith("jpeg") else "image/png"
    url = f"{api.url}/v1/models/champion/predict"
    response = httpx.post(url, content=file, headers={"Content-Type": media_type}, timeout=90)
    assert response.status_code != 503 or response.headers["Retry-After"]
    return response.status_code


def _resident(api: Api) -> int:
    return int(psutil.Process(api.program.pid).memory_info().rss)


def _forget_peak(api: Api) -> None:
    Path(f"/proc/{api.program.pid}/clear_refs").write_text("5")


def _peak(api: Api) -> int:
    """The most memory that was resident since `_forget_peak`."""
    lines = Path(f"/proc/{api.program.pid}/status").read_text().splitlines()
    [peak] = [line for line in lines if line.startswith("VmHWM")]
    return int(peak.split()[1]) * 1_024


@pytest.mark.parametrize("kind", ["rgba", "all"])
def test_forty_hostile_predictions_at_once_take_little_memory_and_give_it_back(api: Api, kind: str) -> None:
    files = hostile_images() if kind == "all" else {kind: hostile_images()[kind]}
    idle = _resident(api)
    _forget_peak(api)

    with ThreadPoolExecutor(REQUESTS) as threads:
        sent = list(islice(cycle(files.items()), REQUESTS))
        statuses = Counter(threads.map(lambda file: _predict(api, *file), sent))

    peak, kept = _peak(api) - idle, _resident(api) - idle
    print(f"{kind}: {dict(statuses)}, peak {peak / MIB:.0f} MiB, kept {kept / MIB:.0f} MiB")  # noqa: T201
    assert set(statuses) <= {200, 413, 422, 503}
    assert statuses[200]
    assert peak < MAX_PEAK
    assert kept < MAX_KEPT
