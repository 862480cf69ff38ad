import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
import tensorflow as tf

from shared.datasets import catalog
from shared.errors import (
    AttemptError,
    CancelRequested,
    DataCorrupt,
    DataUnavailable,
    DeviceOutOfMemory,
    ModelNotFound,
    StopRequested,
)
from shared.formats.results import KERAS_FILE, ONNX_FILE
from shared.lifecycle import Phase
from shared.schemas import EvaluateSpec, ModelKind, Optimizer, TrainSpec
from shared.settings import Settings
from tests.support.factories import as_shown
from tests.support.file_server import Response, running_file_server
from tests.support.synthetic import CallCounter, RecordingMonitor, history
from workers.executor import Checkpoint, Executor, StoredModel
from workers.mnist.executor import MnistExecutor
from workers.mnist.export import from_keras


def make_spec(**overrides: Any) -> TrainSpec:
    """Return the spec of a job on real digits that takes a second."""
    values: dict[str, Any] = {
        "dataset": "digits",
        "train_size": 300,
        "validation_size": 100,
        "evaluation_size": 97,
        "batch_size": 64,
        "epochs": 2,
        "learning_rate": 0.01,
        "seed": 5,
    }
    return TrainSpec(**{**values, **overrides})


def make_evaluate_spec(**overrides: Any) -> EvaluateSpec:
    values: dict[str, Any] = {"model_id": UUID(int=1), "evaluation_size": 97, "seed": 5}
    return EvaluateSpec(**{**values, **overrides})


@pytest.fixture(scope="module")
def worker_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with which MNIST is unavailable."""
    folder = tmp_path_factory.mktemp("data")
    nowhere = (folder / "nowhere").as_uri()
    return Settings(data_dir=folder, mnist_images_url=nowhere, mnist_labels_url=nowhere)


@pytest.fixture(scope="module")
def executor(worker_settings: Settings) -> MnistExecutor:
    """One executor for the whole module, as a pool process has one for all its jobs."""
    return MnistExecutor(worker_settings)


def test_the_checksum_of_the_data_is_reported(executor: MnistExecutor, worker_settings: Settings) -> None:
    monitor = RecordingMonitor()
    executor.train(make_spec(epochs=1), None, monitor)
    assert monitor.data_sha256 == catalog.load("digits", worker_settings).sha256


def test_a_training_job_enters_every_phase_in_order(executor: MnistExecutor) -> None:
    monitor = RecordingMonitor()

    executor.train(make_spec(), None, monitor)

    assert monitor.phases == list(Phase)
    assert [epoch.epoch for epoch in monitor.epochs] == [0, 1]


def test_a_trained_model_has_summary_weights_files_and_evaluation(executor: MnistExecutor) -> None:
    monitor = RecordingMonitor()
    model = executor.train(make_spec(keep_weights=True), None, monitor)

    assert monitor.weights[-1] is not None
    assert sha256(monitor.weights[-1]).hexdigest() == model.weights_sha256
    assert sum(layer.parameters for layer in model.layers) == 5_994
    weights = from_keras(ModelKind.CNN, model.content(KERAS_FILE))
    assert sha256(weights.tobytes()).hexdigest() == model.weights_sha256
    assert model.content(ONNX_FILE)
    assert model.result is not None
    assert model.result.size == 97
    assert [row.name for row in model.result.per_class][:2] == ["Zero", "One"]


def test_a_second_job_of_the_same_shape_imports_traces_and_loads_nothing(
    executor: MnistExecutor, traces: CallCounter, loads: CallCounter
) -> None:
    executor.train(make_spec(), None, RecordingMonitor())
    before = set(sys.modules), traces.count, loads.count

    other = make_spec(seed=6, learning_rate=0.02, epochs=3, evaluation_size=60, threshold=0.5)
    executor.train(other, None, RecordingMonitor())

    assert (set(sys.modules), traces.count, loads.count) == before


def test_after_the_warm_up_the_codelabs_job_imports_traces_and_loads_nothing(
    settings: Settings, real_mnist: dict[str, str], traces: CallCounter, loads: CallCounter
) -> None:
    executor = MnistExecutor(settings.model_copy(update=real_mnist))
    executor.warm_up()
    before = set(sys.modules), traces.count, loads.count
    assert traces.count > 0
    assert loads.count == 1

    spec = TrainSpec(train_size=5_500, validation_size=1_000, evaluation_size=500, epochs=1, seed=3)
    executor.train(spec, None, RecordingMonitor())

    assert (set(sys.modules), traces.count, loads.count) == before


def test_a_warm_up_without_mnist_does_not_fail(executor: MnistExecutor) -> None:
    executor.warm_up()

    with pytest.raises(DataUnavailable):
        executor.train(make_spec(dataset="mnist"), None, RecordingMonitor())


@pytest.mark.parametrize(
    "hostile",
    [Response(b"?" * 1_000, drip=(1, 0.1)), Response(silent=True)],
    ids=["drips", "silent"],
)
def test_an_interruption_ends_a_job_whose_dataset_does_not_arrive(
    hostile: Response, settings: Settings
) -> None:
    with running_file_server() as host:
        url = host.serve("/a", hostile)
        executor = MnistExecutor(
            settings.model_copy(update={"mnist_images_url": url, "mnist_labels_url": url})
        )
        spec, monitor = make_spec(dataset="mnist"), RecordingMonitor(_raiser(CancelRequested()))
        with pytest.raises(CancelRequested):
            executor.train(spec, None, monitor)
        with pytest.raises(CancelRequested):
            executor.evaluate(make_evaluate_spec(), StoredModel(spec, {KERAS_FILE: b"?"}), monitor)
        assert monitor.phases == [Phase.LOADING_DATA] * 2


@pytest.mark.parametrize(
    "hostile",
    [Response(b"?" * 100_000, drip=(500, 0.1)), Response(silent=True)],
    ids=["drips", "silent"],
)
def test_a_warm_up_waits_at_most_5_s_for_mnist_whatever_its_host_or_another_process_does(
    hostile: Response, settings: Settings
) -> None:
    with running_file_server() as host:
        url = host.serve("/a", hostile)
        executor = MnistExecutor(
            settings.model_copy(update={"mnist_images_url": url, "mnist_labels_url": url})
        )
        started_at = monotonic()
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda _: executor._map_mnist(), range(2)))
        assert monotonic() - started_at < 8


def test_a_resumed_job_has_bit_for_bit_the_results_of_an_uninterrupted_one(executor: MnistExecutor) -> None:
    whole = RecordingMonitor()
    model = executor.train(make_spec(), None, whole)

    for next_epoch in (1, 2):
        rest = RecordingMonitor()
        resumed = executor.train(make_spec(), Checkpoint(next_epoch, whole.states[next_epoch - 1]), rest)

        assert resumed.weights_sha256 == model.weights_sha256
        assert resumed.result == model.result
        assert resumed.content(ONNX_FILE) == model.content(ONNX_FILE)
        assert history(rest.epochs) == history(whole.epochs)[next_epoch:]


@pytest.mark.parametrize("kind", ModelKind)
def test_an_evaluation_job_with_the_training_jobs_seed_and_size_repeats_its_evaluation(
    executor: MnistExecutor, kind: ModelKind
) -> None:
    spec = make_spec(model=kind, threshold=0.6, optimizer=Optimizer.RMSPROP)
    trained = executor.train(spec, None, RecordingMonitor())
    monitor = RecordingMonitor()

    evaluation = executor.evaluate(
        make_evaluate_spec(threshold=0.6),
        StoredModel(spec, {KERAS_FILE: trained.content(KERAS_FILE)}),
        monitor,
    )

    assert evaluation.result == trained.result
    assert monitor.phases == [Phase.LOADING_DATA, Phase.BUILDING_MODEL, Phase.EVALUATING]
    assert monitor.checks == 1


def test_misclassified_images_are_identified_by_their_row_among_the_test_images(
    executor: MnistExecutor, worker_settings: Settings
) -> None:
    spec = make_spec(epochs=1)
    trained = executor.train(spec, None, RecordingMonitor())

    evaluation = executor.evaluate(
        make_evaluate_spec(evaluation_size=397, seed=11),
        StoredModel(spec, {KERAS_FILE: trained.content(KERAS_FILE)}),
        RecordingMonitor(),
    )

    dataset = catalog.load("digits", worker_settings)
    assert evaluation.result is not None
    mistakes = as_shown(evaluation.result).misclassified
    assert mistakes
    for wrong in mistakes:
        assert dataset.test_labels[wrong.index] == wrong.label != wrong.predicted


class Interrupting(RecordingMonitor):
    """Interrupts the attempt when it enters a given phase."""

    def __init__(self, at: Phase) -> None:
        super().__init__()
        self.at = at

    def phase(self, phase: Phase) -> None:
        if phase is self.at:
            raise StopRequested


@pytest.mark.parametrize("phase", Phase)
def test_an_interruption_in_any_phase_is_raised_and_does_not_affect_the_next_job(
    executor: MnistExecutor, phase: Phase
) -> None:
    expected = executor.train(make_spec(), None, RecordingMonitor())

    with pytest.raises(StopRequested):
        executor.train(make_spec(seed=99), None, Interrupting(phase))

    after = executor.train(make_spec(), None, RecordingMonitor())
    assert (after.weights_sha256, after.result) == (expected.weights_sha256, expected.result)


def _raiser(error: Exception) -> Callable[[], None]:
    def check() -> None:
        raise error

    return check


def test_a_cancel_request_ends_an_evaluation(executor: MnistExecutor) -> None:
    trained = executor.train(make_spec(epochs=1), None, RecordingMonitor())

    with pytest.raises(CancelRequested):
        executor.evaluate(
            make_evaluate_spec(),
            StoredModel(make_spec(), {KERAS_FILE: trained.content(KERAS_FILE)}),
            RecordingMonitor(_raiser(CancelRequested())),
        )


def test_running_out_of_device_memory_is_reported_and_the_next_job_runs(executor: MnistExecutor) -> None:
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with pytest.raises(DeviceOutOfMemory):
        executor.train(make_spec(), None, RecordingMonitor(_raiser(error)))

    executor.train(make_spec(), None, RecordingMonitor())


def test_a_dataset_that_the_worker_does_not_know_is_unavailable(executor: MnistExecutor) -> None:
    with pytest.raises(DataUnavailable, match="this worker's settings differ from the API's"):
        executor.train(make_spec(dataset="fashion"), None, RecordingMonitor())


@pytest.mark.parametrize(
    ("field", "size"), [("train_size", 1_401), ("validation_size", 398), ("evaluation_size", 398)]
)
def test_a_job_with_more_images_than_the_dataset_fails_before_anything_is_built(
    executor: MnistExecutor, field: str, size: int
) -> None:
    monitor = RecordingMonitor()

    with pytest.raises(DataCorrupt, match=field):
        executor.train(make_spec(**{field: size}), None, monitor)

    assert monitor.phases == [Phase.LOADING_DATA]


def test_a_damaged_stored_model_fails_the_evaluation(executor: MnistExecutor) -> None:
    with pytest.raises(AttemptError, match="the stored model is damaged"):
        executor.evaluate(
            make_evaluate_spec(), StoredModel(make_spec(), {KERAS_FILE: b"?"}), RecordingMonitor()
        )


def test_a_model_of_other_code_is_not_evaluated(executor: MnistExecutor) -> None:
    model = StoredModel(make_spec(), {"net.pt": b"a network"})
    with pytest.raises(ModelNotFound, match=r"no file model\.keras: other code has trained it"):
        executor.evaluate(make_evaluate_spec(), model, RecordingMonitor())


def test_an_executor_reports_its_device_and_versions(executor: MnistExecutor) -> None:
    as_promised: Executor = executor

    assert as_promised.device
    assert {"python", "numpy", "tensorflow", "keras"} <= as_promised.versions.keys()
