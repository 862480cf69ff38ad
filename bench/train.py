"""B1: one warm codelab job, Trainshed's program compared with `keras.Model.fit`: `python -m bench.train`.

Each side has its own process and its fastest configuration: Trainshed's compiled program deterministic, as in
a worker, Keras with its defaults. TensorFlow is imported, the data is in memory, and one job has run before
the measurement. Images are random, which does not affect the times.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing.connection import Connection
from time import perf_counter

import numpy as np
import numpy.typing as npt

from bench.rows import SECONDS, Row, again, compared, interleave, not_measured, run
from shared.schemas import TrainSpec
from workers.executor import SilentMonitor

OURS, AGAIN = "ours", "ours again"
FRESH, REUSED = "keras fit, new model", "keras fit, same model"

_SPEC = TrainSpec(train_size=5_500, validation_size=1_000, evaluation_size=1, epochs=10, seed=1)
_LEAST_ON_CPU = {FRESH: 2.4, REUSED: None}
_LEAST_ON_GPU = {FRESH: 100.0, REUSED: 75.0}

Job = Callable[[int], object]


def measure(scale: float) -> Iterator[Row]:
    """Measure the codelab's job: 10 epochs of 5,500 images, batch 512, validation on 1,000."""
    sides = {name: _Side(name, _SPEC) for name in (OURS, FRESH, REUSED, AGAIN)}
    device = sides[OURS].device
    samples = interleave(
        {name: side.run for name, side in sides.items()}, max(2, round(5 * scale)), warm_up=0
    )
    for side in sides.values():
        side.close()
    for name, least in (_LEAST_ON_CPU if device == "CPU" else _LEAST_ON_GPU).items():
        yield compared("B1", f"{device}, {name}", SECONDS, samples[OURS], samples[name], least)
    yield again("B1", f"{device}, {OURS}", SECONDS, samples[OURS], samples[AGAIN])
    if device == "CPU":
        yield not_measured("B1", "on a GPU", "needs a GPU")


class _Side:
    """An implementation of the job, in its own warm process."""

    def __init__(self, name: str, spec: TrainSpec) -> None:
        self._seeds = count()
        self._pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(name, spec, theirs), daemon=True)
        self._process.start()
        self.device: str = self._pipe.recv()

    def run(self) -> float:
        """Run a job with the next seed; return its seconds."""
        self._pipe.send(next(self._seeds))
        seconds: float = self._pipe.recv()
        return seconds

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def _serve(name: str, spec: TrainSpec, pipe: Connection) -> None:
    job, device = _ours(spec) if name in (OURS, AGAIN) else _keras(spec, reuse=name == REUSED)
    job(0)
    pipe.send(device)
    while (seed := pipe.recv()) is not None:
        started_at = perf_counter()
        job(seed)
        pipe.send(perf_counter() - started_at)


def _ours(spec: TrainSpec) -> tuple[Job, str]:
    from workers.mnist import backend
    from workers.mnist.graphs import Images, Shape
    from workers.mnist.programs import Programs
    from workers.mnist.training import train

    programs = Programs(backend.configure(deterministic=True))
    images = Images(*_random_images(spec.train_size), *_random_images(spec.validation_size))

    def job(seed: int) -> object:
        seeded = spec.model_copy(update={"seed": seed})
        return train(seeded, images, programs.epoch(Shape.of(seeded)), None, SilentMonitor())

    return job, backend.device_name()


def _keras(spec: TrainSpec, *, reuse: bool) -> tuple[Job, str]:
    import keras

    from shared.formats.weights import split
    from workers.mnist import backend
    from workers.mnist.model import initial_weights, keras_model

    backend.configure(deterministic=False)
    x, y, validation_x, validation_y = (
        array
        for size in (spec.train_size, spec.validation_size)
        for array in _as_keras_inputs(*_random_images(size))
    )

    def compiled() -> keras.Model:
        model = keras.models.clone_model(keras_model(spec.model))
        model.compile(
            keras.optimizers.Adam(spec.learning_rate), "categorical_crossentropy", metrics=["accuracy"]
        )
        return model

    reused = compiled() if reuse else None

    def job(seed: int) -> object:
        model = reused or compiled()
        model.set_weights(split(spec.model, initial_weights(spec.model, seed)))
        model.fit(
            x,
            y,
            batch_size=spec.batch_size,
            epochs=spec.epochs,
            validation_data=(validation_x, validation_y),
            verbose=0,
        )
        return model.get_weights()

    return job, backend.device_name()


def _random_images(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    random = np.random.default_rng(count)
    return random.integers(0, 256, (count, 784), np.uint8), random.integers(0, 10, count, np.uint8)


def _as_keras_inputs(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    return np.divide(images, 255, dtype=np.float32).reshape(-1, 28, 28, 1), np.eye(10, dtype=np.float32)[
        labels
    ]


if __name__ == "__main__":
    run(measure)
