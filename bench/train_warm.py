"""One warm codelab job: our compiled program against `keras.Model.fit`.

    python -m bench.train_warm [--repeats 7] [--epochs 10] [--train-size 5500] [--validation-size 1000]

Each side has a process of its own, and is there as fast as it can be: ours deterministic, as in a worker,
Keras as it comes. TensorFlow is imported, the data is in memory, and one job has run before the clock starts.
The sides take turns, so that a busy machine is busy for all. One of them is ours once more: its ratio to ours
is what the machine's noise alone does. Images are random, which changes no time.
"""

import argparse
import multiprocessing
import os
import platform
from collections.abc import Callable
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter

import numpy as np
import numpy.typing as npt

from shared.schemas import EpochMetrics, TrainSpec

OURS, OURS_AGAIN = "ours", "ours again"
FRESH, REUSED = "keras fit, new model", "keras fit, same model"

Job = Callable[[int], object]


def main() -> None:
    """Run the benchmark and print its table."""
    options = _options()
    spec = TrainSpec(
        train_size=options.train_size,
        validation_size=options.validation_size,
        evaluation_size=1,
        epochs=options.epochs,
        seed=1,
    )
    sides = {name: _Side(name, spec) for name in (OURS, FRESH, REUSED, OURS_AGAIN)}
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(
        f"{sides[OURS].device}; {spec.epochs} epochs of {spec.train_size:,} images, {options.repeats} repeats"
    )
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(options.repeats):
        for name, side in sides.items():
            seconds[name].append(side.run(repeat))
    for side in sides.values():
        side.close()
    _report(seconds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One warm codelab job against keras.Model.fit.")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--train-size", type=int, default=5_500)
    parser.add_argument("--validation-size", type=int, default=1_000)
    return parser.parse_args()


def _report(seconds: dict[str, list[float]]) -> None:
    print(f"{'':24}{'s a job, median (min..max)':32}{'times ours, median (min..max)'}")
    for name, times in seconds.items():
        ratios = [theirs / ours for theirs, ours in zip(times, seconds[OURS], strict=True)]
        print(f"{name:24}{_spread(times, 3):32}{_spread(ratios, 2)}")


def _spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


class _Side:
    """One way to run the job, in a warm process."""

    def __init__(self, name: str, spec: TrainSpec) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(name, spec, theirs), daemon=True)
        self._process.start()
        self.device: str = self._pipe.recv()

    def run(self, seed: int) -> float:
        self._pipe.send(seed)
        seconds: float = self._pipe.recv()
        return seconds

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def _serve(name: str, spec: TrainSpec, pipe: Connection) -> None:
    job, device = _ours(spec) if name in (OURS, OURS_AGAIN) else _keras(spec, reuse=name == REUSED)
    job(0)
    pipe.send(device)
    while (seed := pipe.recv()) is not None:
        began = perf_counter()
        job(seed)
        pipe.send(perf_counter() - began)


def _ours(spec: TrainSpec) -> tuple[Job, str]:
    from workers.mnist import backend
    from workers.mnist.graphs import Images, Shape
    from workers.mnist.programs import Programs
    from workers.mnist.training import train

    programs = Programs(backend.configure(deterministic=True))
    images = Images(*_random_images(spec.train_size), *_random_images(spec.validation_size))

    def job(seed: int) -> object:
        seeded = spec.model_copy(update={"seed": seed})
        return train(seeded, images, programs.epoch(Shape.of(seeded)), None, _Silence())

    return job, backend.device_name()


def _keras(spec: TrainSpec, *, reuse: bool) -> tuple[Job, str]:
    import keras

    from workers.mnist import backend
    from workers.mnist.model import initial_weights, keras_model, split

    backend.configure(deterministic=False)
    x, y, validation_x, validation_y = (
        array
        for size in (spec.train_size, spec.validation_size)
        for array in _as_keras_has_it(*_random_images(size))
    )

    def compiled() -> keras.Model:
        model = keras.models.clone_model(keras_model(spec.model))
        model.compile(
            keras.optimizers.Adam(spec.learning_rate), "categorical_crossentropy", metrics=["accuracy"]
        )
        return model

    kept = compiled() if reuse else None

    def job(seed: int) -> object:
        model = kept or compiled()
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


def _as_keras_has_it(
    images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    return np.divide(images, 255, dtype=np.float32).reshape(-1, 28, 28, 1), np.eye(10, dtype=np.float32)[
        labels
    ]


class _Silence:
    def phase(self, phase: object) -> None: ...

    def epoch(self, metrics: EpochMetrics, state: Callable[[], bytes]) -> None: ...

    def check(self) -> None: ...


if __name__ == "__main__":
    main()
