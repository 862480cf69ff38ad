"""Interface between the queue and the training code: plain values and callbacks, no heavy imports.

The runner passes an `Executor` a `Monitor`, which the training code calls. The training code does not know
jobs, the database or the broker. Tests use a fake on either side.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from shared.formats.epochs import EpochMetrics
from shared.formats.results import Produced
from shared.lifecycle import Phase
from shared.schemas import EvaluateSpec, TrainSpec

CPU_DEVICE = "CPU"
"""The device of an executor that uses no GPU."""


@dataclass(frozen=True)
class Checkpoint:
    """State of a training run between two epochs; training resumes from it bit for bit.

    Attributes:
        next_epoch: the first epoch, counted from 0, that is still to be trained.
        state: every weight and optimizer variable, as `train` passed it to `Monitor.epoch`.
    """

    next_epoch: int
    state: bytes


@dataclass(frozen=True)
class StoredModel:
    """A model that an evaluation job evaluates.

    Attributes:
        spec: the spec of its training.
        files: the contents of its files, by name.
    """

    spec: TrainSpec
    files: Mapping[str, bytes]


class Monitor(Protocol):
    """Callbacks from running training code to the queue.

    Each of them raises `AttemptInterrupted` if the attempt must end now.
    """

    def phase(self, phase: Phase) -> None:
        """Report that the next phase begins."""

    def epoch(self, metrics: EpochMetrics, state: Callable[[], bytes], weights: bytes | None = None) -> None:
        """Report a finished epoch.

        Args:
            metrics: under any names, as `EpochMetrics.of` accepts them. A value that is not a finite number
                is recorded as None, with a notice in the job's log.
            state: returns the state after the epoch. It is called at most once, in the calling thread: now,
                or later while training goes on or after it has ended. So it must not depend on variables that
                training changes.
            weights: the weights after the epoch, in the layout of `shared.formats.weights`, if the spec says
                `keep_weights`.
        """

    def data(self, sha256: str) -> None:
        """Report the checksum of the dataset that the attempt uses, `Dataset.sha256`."""

    def step(self, so_far: Callable[[], EpochMetrics]) -> None:
        """Report that steps of an epoch are finished, so that people see them before its end.

        Each call is also a `check`, and as cheap: it may replace `check` after each step.

        Args:
            so_far: returns the epoch with the values of all its steps so far, from `EpochMetrics.of` without
                values of the epoch. It is called at most once, in the calling thread: now, or before the
                epoch is reported.
        """

    def check(self) -> None:
        """Report that the work goes on; called about once a second, or more often."""


class SilentMonitor:
    """A monitor that ignores every report and never interrupts."""

    def phase(self, phase: Phase) -> None:
        """Ignore the phase."""

    def epoch(self, metrics: EpochMetrics, state: Callable[[], bytes], weights: bytes | None = None) -> None:
        """Ignore the epoch, without reading its state."""

    def data(self, sha256: str) -> None:
        """Ignore the dataset."""

    def step(self, so_far: Callable[[], EpochMetrics]) -> None:
        """Ignore the steps, and do not interrupt."""

    def check(self) -> None:
        """Do not interrupt."""


class Executor(Protocol):
    """Runs jobs in this process; keeps compiled programs and loaded data from one job to the next.

    `train` and `evaluate` raise `AttemptError` if the attempt failed, or the monitor's `AttemptInterrupted`.
    """

    @property
    def device(self) -> str:
        """The device that jobs run on: `CPU_DEVICE`, or a GPU's name such as `NVIDIA H100 80GB HBM3`."""

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the software that results depend on."""

    def warm_up(self) -> None:
        """Import, compile and load everything for which the first job would otherwise wait."""

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        """Train, from the beginning or from a checkpoint; return a model, results, both or neither."""

    def evaluate(self, spec: EvaluateSpec, model: StoredModel, monitor: Monitor) -> Produced:
        """Evaluate a stored model; return the results, and files if there are any."""
