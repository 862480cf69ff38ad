"""An executor without TensorFlow, for tests of the queue in real worker processes.

Selected by `TRAINSHED_EXECUTOR=tests.support.stub_executor:StubExecutor`. Its metrics are determined by the
seed, and an epoch by the state before it, so that a resumed job must equal an uninterrupted one bit for bit.
Some seeds make it misbehave: see `Behaviour`.
"""

import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from enum import IntEnum
from functools import partial

from shared.errors import DataUnavailable
from shared.formats.classification import classification
from shared.formats.epochs import EpochMetrics
from shared.formats.results import KERAS_FILE, MODEL, ONNX_FILE, NewArtifact, NewResult, Produced
from shared.lifecycle import Phase
from shared.schemas import EvaluateSpec, LayerSummary, TrainSpec
from shared.settings import Settings
from tests.support.predictions import make_predictions
from workers.executor import Checkpoint, Monitor, StoredModel

STEP_S = 0.01
WARM_UP_S = 40.0
DATA_SHA256 = hashlib.sha256(b"the stub's data").hexdigest()


class Behaviour(IntEnum):
    """Seeds with which training misbehaves; with any other it succeeds."""

    KILLS_ITS_PROCESS = 1_000_001
    DATA_UNAVAILABLE = 1_000_002
    RAISES = 1_000_003
    HANGS = 1_000_004
    ABORTS = 1_000_005
    HOLDS_PYTHON = 1_000_006
    EXITS = 1_000_007
    LEAVES_CHILDREN = 1_000_008
    LOADS_DATA = 1_000_009


class StubExecutor:
    """Takes 10 ms per step and trains nothing."""

    device = "stub"
    versions = {"stub": "1"}  # noqa: RUF012 (a constant)

    def __init__(self, settings: Settings, step_s: float = STEP_S) -> None:
        self._step_s = step_s

    def warm_up(self) -> None:
        """Do nothing: there are no fixed costs."""

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        if spec.seed == Behaviour.LOADS_DATA:
            monitor.data(DATA_SHA256)
        monitor.phase(Phase.TRAINING)
        state = start.state if start else hashlib.sha256(str(spec.seed).encode()).digest()
        for epoch in range(start.next_epoch if start else 0, spec.epochs):
            losses: list[float] = []
            pace = threading.Event()
            so_far = partial(_so_far, epoch, losses)
            for step in range(spec.steps_per_epoch):
                _misbehave(spec.seed, epoch)
                state = hashlib.sha256(state + bytes([epoch % 256, step % 256])).digest()
                losses.append(_fraction(state))
                pace.wait(self._step_s)
                monitor.step(so_far)
            values = {
                "loss": sum(losses) / len(losses),
                "accuracy": _fraction(state[8:]),
                "val_loss": _fraction(state[16:]),
                "val_accuracy": _fraction(state[24:]),
            }
            steps = {"loss": losses, "accuracy": losses}
            metrics = EpochMetrics.of(epoch, STEP_S * len(losses), values, steps)
            final = state
            weights = final if spec.keep_weights else None
            monitor.epoch(metrics, lambda final=final: final, weights)  # type: ignore[misc]
        monitor.phase(Phase.EVALUATING)
        return Produced(
            artifacts=(
                NewArtifact(KERAS_FILE, json.dumps({"state": state.hex()}).encode(), MODEL),
                NewArtifact(ONNX_FILE, state, MODEL),
            ),
            result=_evaluation(spec.evaluation_size, spec.threshold, spec.dataset),
            kind=spec.model,
            layers=(
                LayerSummary(name="stub", type="Stub", output_shape=(10,), parameters=1, trainable=True),
            ),
            weights_sha256=hashlib.sha256(state).hexdigest(),
        )

    def evaluate(self, spec: EvaluateSpec, model: StoredModel, monitor: Monitor) -> Produced:
        monitor.phase(Phase.EVALUATING)
        json.loads(model.files[KERAS_FILE])
        return Produced(result=_evaluation(spec.evaluation_size, spec.threshold, model.spec.dataset))


class SlowToStart(StubExecutor):
    """Takes `WARM_UP_S` to be ready for jobs."""

    def warm_up(self) -> None:
        """Wait, as for a library that compiles."""
        os.write(2, b"warming up\n")
        threading.Event().wait(WARM_UP_S)


class QuickExecutor(StubExecutor):
    """Takes 1 ms per step, so that a process claims several jobs of a few steps at once."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, step_s=0.001)


class Printing(StubExecutor):
    """Trains, and prints a line, which the job's log gets."""

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        os.write(1, b"training\n")
        return super().train(spec, start, monitor)


class InterferingExecutor(StubExecutor):
    """Trains, and calls a function before it returns the model."""

    def __init__(self, settings: Settings, interfere: Callable[[], None]) -> None:
        super().__init__(settings)
        self._interfere = interfere

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        model = super().train(spec, start, monitor)
        self._interfere()
        monitor.check()
        return model


def _so_far(epoch: int, losses: list[float]) -> EpochMetrics:
    return EpochMetrics.of(epoch, STEP_S * len(losses), {}, {"loss": losses, "accuracy": losses})


def _fraction(state: bytes) -> float:
    return int.from_bytes(state[:6], "big") / 2**48


def _misbehave(seed: int, epoch: int) -> None:
    match seed:
        case Behaviour.KILLS_ITS_PROCESS:
            os.kill(os.getpid(), signal.SIGKILL)
        case Behaviour.ABORTS:
            os.write(2, b"F0000 00:00:1764300000.000000 7 stub.cc:1] Check failed: it did not work\n")
            os.abort()
        case Behaviour.DATA_UNAVAILABLE:
            raise DataUnavailable("http://127.0.0.1:9/mnist_images.png: connection refused")
        case Behaviour.RAISES:
            raise RuntimeError("an unforeseen error")
        case Behaviour.HANGS if epoch == 1:
            threading.Event().wait()
        case Behaviour.HOLDS_PYTHON:
            mutex, c = ctypes.create_string_buffer(128), ctypes.PyDLL(None)
            for _ in range(2):  # a deadlock, during which no other thread of this process can run
                c.pthread_mutex_lock(mutex)
        case Behaviour.EXITS:
            sys.exit("cannot go on")
        case Behaviour.LEAVES_CHILDREN:
            subprocess.Popen(["sleep", "4711"])
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            pass


def _evaluation(size: int, threshold: float | None, dataset: str) -> NewResult:
    images = make_predictions([number % 10 for number in range(size)], {0: (1, 0.5)})
    return classification(
        images.probabilities,
        images.labels,
        names=[str(label) for label in range(10)],
        threshold=threshold,
        dataset=dataset,
        values={"loss": 0.1},
    )
