"""An executor whose training job reports as a real one does, and computes nothing.

`TRAINSHED_EXECUTOR=bench.no_op:NoOpExecutor` selects it. The remaining cost of a job is that of the queue.
"""

from typing import ClassVar

from shared.formats.epochs import EpochMetrics
from shared.formats.results import KERAS_FILE, MODEL, ONNX_FILE, NewArtifact, Produced
from shared.lifecycle import Phase
from shared.schemas import EvaluateSpec, LayerSummary, TrainSpec
from shared.settings import Settings
from tests.support.factories import make_evaluation
from workers.executor import Checkpoint, Monitor, StoredModel

SPEC = TrainSpec(dataset="digits", epochs=1, train_size=1, validation_size=1, evaluation_size=1, seed=1)
"""The smallest training job: one epoch of one batch."""

NAME = "bench.no_op:NoOpExecutor"
NOTHING_KEPT = "bench.no_op:NothingKept"
"""The name of an executor whose jobs do nothing and leave nothing, as the peers' do."""

_LAYER = LayerSummary(name="stub", type="Stub", output_shape=(10,), parameters=1, trainable=True)
_MODEL = Produced(
    artifacts=(
        NewArtifact(KERAS_FILE, b"a .keras file", MODEL),
        NewArtifact(ONNX_FILE, b"an ONNX file", MODEL),
    ),
    result=make_evaluation(dataset="digits"),
    layers=(_LAYER,),
    weights_sha256="0" * 64,
)


class NoOpExecutor:
    """An executor that enters every phase and reports every epoch of a training job.

    Attributes:
        model: the result of every training job; its files are a few bytes.
    """

    model = _MODEL
    device = "none"
    versions: ClassVar = {"none": "1"}

    def __init__(self, settings: Settings) -> None:
        """Accept the settings, as every executor does."""

    def warm_up(self) -> None:
        """Do nothing."""

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        """Report as the real executor does."""
        for phase in (Phase.LOADING_DATA, Phase.BUILDING_MODEL, Phase.TRAINING):
            monitor.phase(phase)
        for number in range(spec.epochs):
            monitor.check()
            monitor.epoch(make_metrics(number, spec.steps_per_epoch), bytes)
        for phase in (Phase.EVALUATING, Phase.SAVING):
            monitor.phase(phase)
        return self.model

    def evaluate(self, spec: EvaluateSpec, model: StoredModel, monitor: Monitor) -> Produced:
        """Return the evaluation that a training job stores too."""
        return Produced(result=self.model.result)


class NothingKept(NoOpExecutor):
    """An executor whose training enters no phase, reports no epoch and returns nothing to keep."""

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        """Return nothing."""
        return Produced()


def make_metrics(epoch: int, batches: int) -> EpochMetrics:
    """Return metrics of an epoch with this many batches."""
    values = {"loss": 1 / (1 + epoch), "accuracy": 0.9, "val_loss": 1 / (1 + epoch), "val_accuracy": 0.9}
    return EpochMetrics.of(epoch, 0.003, values, {"loss": [1 / 3] * batches, "accuracy": [2 / 3] * batches})
