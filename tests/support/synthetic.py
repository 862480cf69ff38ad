"""Synthetic images, monitors that record, and digests with which two runs are compared.

Imports only what a worker has installed, so that it can be used in another process and on a GPU machine.
"""

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.formats.epochs import EpochMetrics
from shared.formats.weights import Weights
from shared.lifecycle import Phase
from shared.schemas import TrainSpec
from workers.mnist.graphs import Images


def make_spec(**overrides: Any) -> TrainSpec:
    """Return the spec of a job that takes a second: 3 epochs of 4 batches, the last one smaller."""
    values: dict[str, Any] = {
        "train_size": 210,
        "validation_size": 50,
        "evaluation_size": 40,
        "batch_size": 64,
        "epochs": 3,
        "seed": 7,
    }
    return TrainSpec(**{**values, **overrides})


def make_digits(count: int, seed: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return images (count, 784) of ten patterns with much noise, and their labels (count,)."""
    patterns = np.random.default_rng(42).integers(0, 2, (10, 784)) * 120
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count).astype(np.uint8)
    noise = random.integers(0, 136, (count, 784))
    return (patterns[labels] + noise).astype(np.uint8), labels


def make_images(spec: TrainSpec) -> Images:
    """Return training and validation images for a job."""
    return Images(*make_digits(spec.train_size, seed=1), *make_digits(spec.validation_size, seed=2))


class CallCounter:
    """A callable that counts its calls."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *_: object) -> None:
        self.count += 1


class RecordingMonitor:
    """A monitor that records everything that is reported, including every state.

    Attributes:
        on_check: called at each check; may raise.
    """

    def __init__(self, on_check: Callable[[], None] = lambda: None) -> None:
        self.phases: list[Phase] = []
        self.epochs: list[EpochMetrics] = []
        self.states: list[bytes] = []
        self.weights: list[bytes | None] = []
        self.steps: list[EpochMetrics] = []
        self.checks = 0
        self.on_check = on_check

    def phase(self, phase: Phase) -> None:
        self.phases.append(phase)

    def epoch(self, metrics: EpochMetrics, state: Callable[[], bytes], weights: bytes | None = None) -> None:
        self.epochs.append(metrics)
        self.states.append(state())
        self.weights.append(weights)

    def data(self, sha256: str) -> None:
        self.data_sha256 = sha256

    def step(self, so_far: Callable[[], EpochMetrics]) -> None:
        self.steps.append(so_far())
        self.check()

    def check(self) -> None:
        self.checks += 1
        self.on_check()


def history(epochs: Iterable[EpochMetrics]) -> list[list[str]]:
    """Return every metric of every epoch except its seconds, as exact hexadecimal floats."""
    return [
        [value.hex() for value in epoch.values.values() if value is not None] + [epoch.steps.hex()]
        for epoch in epochs
    ]


def digest(weights: Weights) -> str:
    """Return the SHA-256 of the weights' bytes."""
    return sha256(weights.tobytes()).hexdigest()
