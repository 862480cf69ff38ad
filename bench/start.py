"""B3: seconds from the start of a process to the first result of the codelab's job: `python -m bench.start`.

Trainshed runs `python -m workers` with a job in its queue, until the job's result, with its evaluation, its
`.keras` and its ONNX file, is stored; the dataset is in the host's cache, as after the first job. The peer is
a plain script: it imports Keras and Pillow, decodes the sprite, fits for 10 epochs, evaluates and saves the
model. The sprite is the configured one if it is a local file, and else noise of the same size.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from bench.rows import SECONDS, Row, again, compared, interleave, run
from bench.servers import starting_worker
from shared.datasets.catalog import load
from shared.db.engine import Database
from shared.lifecycle import TERMINAL, JobState
from shared.schemas import TrainSpec
from shared.settings import Settings
from tests.support import queue_driver, sprite_files, stored
from tests.support.databases import migrate, open_database
from tests.support.servers import running_redis
from tests.support.waiting import wait_until

_SPEC = TrainSpec(train_size=5_500, validation_size=1_000, evaluation_size=500, epochs=10, seed=1)
_ROWS = 65_000
_LEAST = 1.5
_TIMEOUT_S = 120.0
_SCRIPT = """
import sys
from urllib.parse import urlsplit
import keras
import numpy as np
from PIL import Image

Image.MAX_IMAGE_PIXELS = None
images, labels = (urlsplit(url).path for url in sys.argv[1:3])
x = np.asarray(Image.open(images).convert("L")).reshape(-1, 28, 28, 1)
y = np.fromfile(labels, np.uint8).reshape(-1, 10).astype("float32")
train, rest = np.random.permutation(55_000)[:5_500], 55_000 + np.random.permutation(10_000)[:1_500]
layers = keras.layers
model = keras.Sequential([
    layers.Input((28, 28, 1)),
    layers.Conv2D(8, 5, activation="relu"), layers.MaxPooling2D(),
    layers.Conv2D(16, 5, activation="relu"), layers.MaxPooling2D(),
    layers.Flatten(), layers.Dense(10, activation="softmax"),
])
model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
scaled = lambda rows: (x[rows].astype("float32") / 255, y[rows])
model.fit(*scaled(train), batch_size=512, epochs=10, validation_data=scaled(rest[:1_000]), verbose=0)
model.evaluate(*scaled(rest[1_000:]), verbose=0)
model.save(sys.argv[3])
"""


def measure(scale: float) -> Iterator[Row]:
    """Measure rounds of one start of each side."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        settings = _settings(folder, stack.enter_context(running_redis()).url)
        load("mnist", settings)
        database = stack.enter_context(open_database(settings.database_url))

        def ours() -> float:
            return _start_worker(settings, database)

        def script() -> float:
            urls = (settings.mnist_images_url, settings.mnist_labels_url)
            command = [sys.executable, "-c", _SCRIPT, *urls, str(folder / "model.keras")]
            started_at = perf_counter()
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            return perf_counter() - started_at

        samples = interleave({"ours": ours, "script": script, "again": ours}, max(2, round(3 * scale)))
    yield compared(
        "B3", "start to first result / plain script", SECONDS, samples["ours"], samples["script"], _LEAST
    )
    yield again("B3", "start to first result", SECONDS, samples["ours"], samples["again"])


def _settings(folder: Path, redis_url: str) -> Settings:
    database_url = migrate(f"sqlite:///{folder / 'bench.db'}")
    settings = Settings(data_dir=folder, database_url=database_url, redis_url=redis_url, slots=1)
    if settings.mnist_images_url.startswith("file:"):
        return settings
    images, labels = folder / "images.png", folder / "labels"
    images.write_bytes(sprite_files.grey_png(sprite_files.make_images(_ROWS)))
    labels.write_bytes(sprite_files.one_hot(sprite_files.make_labels(_ROWS)).tobytes())
    values = settings.model_dump(include=settings.model_fields_set)
    return Settings(**{**values, "mnist_images_url": images.as_uri(), "mnist_labels_url": labels.as_uri()})


def _start_worker(settings: Settings, database: Database) -> float:
    job_id = queue_driver.submit(database, spec=_SPEC)
    started_at = perf_counter()
    with starting_worker(settings) as worker:

        def has_ended() -> bool:
            assert worker.poll() is None, "the worker ended"
            return stored.job(database, job_id).state in TERMINAL

        wait_until(has_ended, "the job has ended", _TIMEOUT_S)
        passed_s = perf_counter() - started_at
    assert stored.job(database, job_id).state == JobState.SUCCEEDED
    return passed_s


if __name__ == "__main__":
    run(measure)
