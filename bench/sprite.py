"""B9: loading a dataset's sprite, first and cached, compared with Pillow and NumPy: `python -m bench.sprite`.

Needs the codelab's sprite: TRAINSHED_MNIST_IMAGES_URL and TRAINSHED_MNIST_LABELS_URL as `file://` addresses.
Each use has a new process with everything imported, and ends when the images and labels of a training job of
5,500 rows are arrays. At first use Trainshed verifies the files, decodes them and writes the cache; later it
maps the cache. The peer decodes the PNG with Pillow, as a script does each time. Memory is the growth of the
process's peak.
"""

import multiprocessing
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from time import perf_counter
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from bench.rows import MS, Row, Unit, again, compared, interleave, limited, not_measured, run
from shared.datasets.catalog import load
from shared.settings import Settings

_ROWS = 5_500
_MOST_MB = 60.0
_MB = Unit("MB", smaller_is_better=True)
_FIRST, _CACHED, _PEER, _AGAIN = "first use", "cached", "Pillow and NumPy", "again"

Use = Callable[[Settings], None]


def measure(scale: float) -> Iterator[Row]:
    """Measure rounds of one use of each kind."""
    settings = Settings()
    if not (settings.mnist_images_url.startswith("file:") and settings.mnist_labels_url.startswith("file:")):
        yield not_measured("B9", "sprite", "TRAINSHED_MNIST_IMAGES_URL and _LABELS_URL name no local files")
        return
    added_mb: list[float] = []
    with TemporaryDirectory(prefix="bench-") as folder:
        settings = settings.model_copy(update={"data_dir": Path(folder)})

        def first() -> float:
            rmtree(settings.data_dir / "datasets", ignore_errors=True)
            time_ms, megabytes = _in_new_process(_ours, settings)
            added_mb.append(megabytes)
            return time_ms

        cases = {
            _FIRST: first,
            _CACHED: lambda: _in_new_process(_ours, settings)[0],
            _PEER: lambda: _in_new_process(_pillow, settings)[0],
            _AGAIN: lambda: _in_new_process(_pillow, settings)[0],
        }
        samples = interleave(cases, max(2, round(7 * scale)))
    for name, least in ((_FIRST, 1.5), (_CACHED, 50.0)):
        yield compared("B9", f"{name} / {_PEER}", MS, samples[name], samples[_PEER], least)
    yield limited("B9", f"{_FIRST}, memory added", _MB, added_mb, _MOST_MB)
    yield again("B9", _PEER, MS, samples[_PEER], samples[_AGAIN])


def _in_new_process(use: Use, settings: Settings) -> tuple[float, float]:
    """Return the milliseconds of a use, and by how many megabytes it raised the process's peak."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_timed, use, settings).result()


def _timed(use: Use, settings: Settings) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started_at = perf_counter()
    use(settings)
    time_ms = 1_000 * (perf_counter() - started_at)
    return time_ms, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1_024


def _ours(settings: Settings) -> None:
    dataset = load("mnist", settings)
    _select(dataset.train_images, dataset.train_labels)


def _pillow(settings: Settings) -> None:
    Image.MAX_IMAGE_PIXELS = None
    image = Image.open(urlsplit(settings.mnist_images_url).path)
    images = np.asarray(image.convert("L")).reshape(-1, 784)
    one_hot = np.fromfile(urlsplit(settings.mnist_labels_url).path, np.uint8).reshape(-1, 10)
    _select(images, one_hot.argmax(axis=1).astype(np.uint8))


def _select(images: "np.typing.NDArray[np.uint8]", labels: "np.typing.NDArray[np.uint8]") -> None:
    rows = np.random.default_rng(1).permutation(len(images))[:_ROWS]
    assert images[rows].shape == (_ROWS, 784)
    assert labels[rows].max() == 9


if __name__ == "__main__":
    run(measure)
