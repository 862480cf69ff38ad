"""The border between the queue and the training code: plain values and callbacks, nothing heavy.

The runner calls an `Executor` and hands it a `Monitor`. The training code calls the monitor; it knows no job,
no database and no broker. Tests put a fake on either side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from shared.lifecycle import Phase
from shared.schemas import EpochMetrics, EvaluateSpec, Evaluation, LayerSummary, TrainSpec


@dataclass(frozen=True)
class Checkpoint:
    """Where training can go on from, bit for bit.

    Attributes:
        next_epoch: the first epoch that is still to be trained.
        state: every weight and optimizer variable, as `train` gave it to `Monitor.epoch`.
    """

    next_epoch: int
    state: bytes


@dataclass(frozen=True)
class TrainedModel:
    """What a training job leaves behind.

    Attributes:
        layers: the model's summary.
        weights_sha256: of the weights' bytes in layer order; equal for equal models.
        keras: the model as a `.keras` file.
        onnx: the same model as an ONNX file, whose outputs equal Keras's within 1e-5.
        evaluation: the measurement at the end.
    """

    layers: tuple[LayerSummary, ...]
    weights_sha256: str
    keras: bytes
    onnx: bytes
    evaluation: Evaluation


@dataclass(frozen=True)
class StoredModel:
    """A model that an evaluation job measures.

    Attributes:
        spec: what it was trained with, in full.
        keras: its `.keras` file.
    """

    spec: TrainSpec
    keras: bytes


class Monitor(Protocol):
    """What running code tells the queue, and hears from it."""

    def phase(self, phase: Phase) -> None:
        """Say what comes next."""

    def epoch(self, metrics: EpochMetrics, state: Callable[[], bytes]) -> None:
        """Hand over a finished epoch.

        Args:
            metrics: what the epoch showed.
            state: gives the state after this epoch; called only if it is stored, before this returns.

        Raises:
            AttemptInterrupted: the attempt must end now.
        """

    def check(self) -> None:
        """Say that a step is done; called at least once a second or so of work.

        Raises:
            AttemptInterrupted: the attempt must end now.
        """


class Executor(Protocol):
    """Runs jobs in this process; made once and kept, so that what is costly is paid once."""

    @property
    def device(self) -> str:
        """What it runs on, such as `CPU` or `NVIDIA H100 80GB HBM3`."""

    @property
    def versions(self) -> dict[str, str]:
        """The versions of what the numbers depend on."""

    def warm_up(self) -> None:
        """Pay every fixed cost now that a job would otherwise pay: imports, tracing, mapping the data."""

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> TrainedModel:
        """Train, evaluate and export a model, from the start or from a checkpoint.

        Raises:
            AttemptError: the attempt failed.
            AttemptInterrupted: the monitor asked for the end.
        """

    def evaluate(self, spec: EvaluateSpec, model: StoredModel, monitor: Monitor) -> Evaluation:
        """Measure a stored model on its dataset's test images.

        Raises:
            AttemptError: the attempt failed.
            AttemptInterrupted: the monitor asked for the end.
        """
