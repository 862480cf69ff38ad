"""Executor of training and evaluation jobs; keeps datasets and compiled programs between jobs."""

import logging
import platform
from hashlib import sha256

import keras
import numpy as np
import tensorflow as tf

from shared.datasets import splits
from shared.datasets.catalog import Dataset, DatasetInfo, load
from shared.errors import AttemptError, DatasetNotFound, DataUnavailable, ModelNotFound
from shared.formats.classification import classification
from shared.formats.results import KERAS_FILE, MODEL, ONNX_FILE, NewArtifact, NewResult, Produced
from shared.formats.weights import CLASSES, PIXELS, Weights, to_bytes
from shared.lifecycle import Phase
from shared.schemas import EvaluateSpec, ModelKind, TrainSpec
from shared.settings import Settings
from workers.executor import Checkpoint, Monitor, SilentMonitor, StoredModel
from workers.mnist import backend, export
from workers.mnist.graphs import Images, Shape
from workers.mnist.model import summary
from workers.mnist.onnx_file import to_onnx
from workers.mnist.programs import Programs
from workers.mnist.training import train

_log = logging.getLogger(__name__)

_CODELAB = TrainSpec(train_size=5_500, validation_size=1_000, evaluation_size=500, epochs=1, seed=0)


class MnistExecutor:
    """Runs one job at a time in this process. Implements `workers.executor.Executor`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._programs = Programs(backend.configure(settings.deterministic))
        self._datasets: dict[str, Dataset] = {}

    @property
    def device(self) -> str:
        """The first GPU's name, or `CPU`."""
        return backend.device_name()

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the software that results depend on."""
        return {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            **backend.gpu_versions(),
        }

    def warm_up(self) -> None:
        """Map MNIST if it is available, and run the codelab's job for one epoch on black images."""
        self._map_mnist()
        self._run(_CODELAB, _black_images(_CODELAB), None, SilentMonitor())

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        """Train, evaluate and export a model."""
        monitor.phase(Phase.LOADING_DATA)
        dataset = self._dataset(spec.dataset, monitor)
        monitor.data(dataset.sha256)
        with backend.translate_out_of_memory():
            return self._run(spec, dataset, start, monitor)

    def evaluate(self, spec: EvaluateSpec, model: StoredModel, monitor: Monitor) -> Produced:
        """Evaluate a stored model."""
        monitor.phase(Phase.LOADING_DATA)
        dataset = self._dataset(model.spec.dataset, monitor)
        monitor.data(dataset.sha256)
        rows = splits.evaluation_rows(
            spec.seed, spec.evaluation_size, dataset.info.test_rows, model.spec.validation_size
        )
        with backend.translate_out_of_memory():
            monitor.phase(Phase.BUILDING_MODEL)
            if KERAS_FILE not in model.files:
                raise ModelNotFound(f"the model has no file {KERAS_FILE}: other code has trained it")
            weights = export.from_keras(model.spec.model, model.files[KERAS_FILE])
            monitor.phase(Phase.EVALUATING)
            result = self._evaluate(model.spec.model, weights, dataset, rows, spec.threshold, monitor)
            return Produced(result=result)

    def _run(self, spec: TrainSpec, dataset: Dataset, start: Checkpoint | None, monitor: Monitor) -> Produced:
        images = select_images(spec, dataset)
        rows = splits.evaluation_rows(
            spec.seed, spec.evaluation_size, dataset.info.test_rows, spec.validation_size
        )
        monitor.phase(Phase.BUILDING_MODEL)
        program = self._programs.epoch(Shape.of(spec))
        monitor.phase(Phase.TRAINING)
        weights = train(spec, images, program, start, monitor)
        monitor.phase(Phase.EVALUATING)
        result = self._evaluate(spec.model, weights, dataset, rows, spec.threshold, monitor)
        monitor.phase(Phase.SAVING)
        return Produced(
            artifacts=(
                NewArtifact(KERAS_FILE, export.to_keras(spec.model, weights), MODEL),
                NewArtifact(ONNX_FILE, to_onnx(spec.model, weights), MODEL),
            ),
            result=result,
            kind=spec.model,
            layers=summary(spec.model),
            weights_sha256=sha256(to_bytes(weights)).hexdigest(),
        )

    def _evaluate(
        self,
        kind: ModelKind,
        weights: Weights,
        dataset: Dataset,
        rows: splits.Rows,
        threshold: float | None,
        monitor: Monitor,
    ) -> NewResult:
        labels = dataset.test_labels[rows]
        program = self._programs.prediction(kind)
        probabilities, losses = program.run(weights, dataset.test_images[rows], labels, monitor.check)
        return classification(
            probabilities,
            labels,
            indices=rows,
            names=dataset.info.class_names,
            threshold=threshold,
            dataset=dataset.info.name,
            values={"loss": float(losses.mean(dtype=np.float64))},
        )

    def _dataset(self, name: str, monitor: Monitor) -> Dataset:
        if name not in self._datasets:
            try:
                self._datasets[name] = load(name, self._settings, monitor.check)
            except DatasetNotFound as error:
                # the API accepted the job, so it knows the dataset, and another worker may know it too
                raise DataUnavailable(f"this worker's settings differ from the API's: {error}") from error
        return self._datasets[name]

    def _map_mnist(self) -> None:
        # also while another process downloads MNIST: a new worker is soon ready for jobs that do not need it
        quickly = {"download_attempts": 1, "download_timeout_s": 2.0, "download_deadline_s": 5.0}
        try:
            self._datasets["mnist"] = load("mnist", self._settings.model_copy(update=quickly))
        except AttemptError as error:
            _log.info("MNIST is not available yet, the first job that needs it will fetch it: %s", error)


def select_images(spec: TrainSpec, dataset: Dataset) -> Images:
    """Return the training and validation images of a job.

    Raises:
        DataCorrupt: the dataset has fewer images than the job needs.
    """
    train = splits.train_rows(spec.seed, spec.train_size, dataset.info.train_rows)
    validation = splits.validation_rows(spec.seed, spec.validation_size, dataset.info.test_rows)
    return Images(
        dataset.train_images[train],
        dataset.train_labels[train],
        dataset.test_images[validation],
        dataset.test_labels[validation],
    )


def _black_images(spec: TrainSpec) -> Dataset:
    train, test = spec.train_size, spec.validation_size + spec.evaluation_size
    info = DatasetInfo("black", train, test, 0, 0, 0, class_names=("",) * CLASSES)
    images, labels = np.zeros((train + test, PIXELS), np.uint8), np.zeros(train + test, np.uint8)
    return Dataset(info, images[:train], labels[:train], images[train:], labels[train:])
