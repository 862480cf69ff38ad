"""Benchmark of one warm codelab job: our compiled program compared with `keras.Model.fit`.

    python -m bench.train_warm [--repeats 7] [--epochs 10] [--train-size 5500] [--validation-size 1000]

Each side has its own process and its fastest configuration: ours deterministic, as in a worker, Keras with
its defaults. TensorFlow is imported, the data is in memory, and one job has run before the measurement. The
sides take turns, so that other load on the machine affects all. Our side also runs a second time: its ratio
to ours is the machine's noise. Images are random, which does not affect the times.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter

import numpy as np
import numpy.typing as npt

from bench.timing import machine
from shared.schemas import TrainSpec
from workers.executor import SilentMonitor

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
    print(machine())
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
    parser = argparse.ArgumentParser(description="One warm codelab job compared with keras.Model.fit.")
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
    """An implementation of the job, in its own warm process."""

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

    from workers.mnist import backend
    from workers.mnist.model import initial_weights, keras_model, split

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
    main()
