from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
import pytest

from shared.datasets import splits
from shared.datasets.catalog import load
from shared.errors import AttemptError, CancelRequested, NonFiniteLoss
from shared.formats.epochs import EpochMetrics, unpack_steps
from shared.formats.weights import Weights, split, to_bytes
from shared.schemas import ModelKind, Optimizer, TrainSpec
from shared.settings import Settings
from tests.support import resumed
from tests.support.synthetic import RecordingMonitor, digest, history, make_images, make_spec
from workers.executor import Checkpoint
from workers.mnist import backend, checkpoints
from workers.mnist.executor import select_images
from workers.mnist.graphs import Images, Shape
from workers.mnist.model import initial_weights, keras_model
from workers.mnist.programs import Programs
from workers.mnist.training import train

PROGRAMS = Programs(backend.configure(deterministic=True))


def _train(
    spec: TrainSpec,
    start: Checkpoint | None = None,
    images: Images | None = None,
    monitor: RecordingMonitor | None = None,
) -> tuple[Weights, RecordingMonitor]:
    monitor = monitor or RecordingMonitor()
    program = PROGRAMS.epoch(Shape.of(spec))
    return train(spec, images or make_images(spec), program, start, monitor), monitor


def _fit(spec: TrainSpec, images: Images) -> tuple[list[dict[str, float]], Weights]:
    """Train with `keras.Model.fit`, from the same weights in the same order, one epoch at a time."""
    model = keras.models.clone_model(keras_model(spec.model))  # which is shared: none may compile it
    model.set_weights(split(spec.model, initial_weights(spec.model, spec.seed)))
    optimizer = keras.optimizers.get(
        {"class_name": spec.optimizer, "config": {"learning_rate": spec.learning_rate}}
    )
    model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    x, validation = (
        part.reshape(-1, 28, 28, 1) / np.float32(255) for part in (images.train, images.validation)
    )
    y, expected = (np.eye(10)[labels] for labels in (images.train_labels, images.validation_labels))
    epochs = []
    for epoch in range(spec.epochs):
        order = splits.epoch_order(spec.seed, epoch, spec.train_size)
        fitted = model.fit(
            x[order],
            y[order],
            batch_size=spec.batch_size,
            shuffle=False,
            validation_data=(validation, expected),
            verbose=0,
        )
        epochs.append({name: values[0] for name, values in fitted.history.items()})
    return epochs, np.concatenate([array.ravel() for array in model.get_weights()])


def _assert_same_metrics(ours: list[EpochMetrics], theirs: list[dict[str, float]]) -> None:
    for epoch, expected in zip(ours, theirs, strict=True):
        for name, value in expected.items():
            assert epoch.values[name] == pytest.approx(value, abs=1e-4), f"{name} of epoch {epoch.epoch}"


@pytest.mark.timeout(300)  # two trainings on the CPU, which others may use meanwhile
def test_the_codelabs_job_has_the_metrics_and_weights_of_keras_fit(
    settings: Settings, real_mnist: dict[str, str]
) -> None:
    # at this rate three epochs learn as much as the codelab's ten
    rates = {"epochs": 3, "learning_rate": 0.005}
    spec = TrainSpec(train_size=5_500, validation_size=1_000, evaluation_size=500, seed=1, **rates)
    images = select_images(spec, load("mnist", settings.model_copy(update=real_mnist)))

    weights, monitor = _train(spec, images=images)

    epochs, expected = _fit(spec, images)
    _assert_same_metrics(monitor.epochs, epochs)
    np.testing.assert_allclose(weights, expected, atol=1e-4)
    assert (monitor.epochs[-1].values["val_accuracy"] or 0) > 0.9


@pytest.mark.parametrize("kind", ModelKind)
@pytest.mark.parametrize("optimizer", Optimizer)
def test_every_optimizer_trains_every_model_as_keras_fit_does(kind: ModelKind, optimizer: Optimizer) -> None:
    spec = make_spec(model=kind, optimizer=optimizer)
    images = make_images(spec)

    weights, monitor = _train(spec, images=images)

    epochs, expected = _fit(spec, images)
    _assert_same_metrics(monitor.epochs, epochs)
    np.testing.assert_allclose(weights, expected, atol=1e-4)


def test_equal_seeds_give_equal_bits_and_different_seeds_do_not() -> None:
    (first, recorded), (second, recorded_again), (other, _) = (
        _train(make_spec(seed=seed), images=make_images(make_spec())) for seed in (1, 1, 2)
    )

    assert digest(first) == digest(second) != digest(other)
    assert history(recorded.epochs) == history(recorded_again.epochs)
    assert recorded.states == recorded_again.states


@pytest.mark.parametrize("optimizer", Optimizer)
def test_a_resume_at_any_epoch_gives_the_bits_of_an_uninterrupted_run(optimizer: Optimizer) -> None:
    spec = make_spec(optimizer=optimizer, epochs=4)
    weights, whole = _train(spec)

    for next_epoch in range(1, 5):
        resumed_weights, rest = _train(spec, Checkpoint(next_epoch, whole.states[next_epoch - 1]))

        assert history(rest.epochs) == history(whole.epochs[next_epoch:])
        assert [epoch.epoch for epoch in rest.epochs] == list(range(next_epoch, 4))
        assert rest.states == whole.states[next_epoch:]
        assert digest(resumed_weights) == digest(weights)


def test_a_resume_in_another_process_gives_the_bits_of_an_uninterrupted_run() -> None:
    spec = make_spec()
    here, states = resumed.run(spec, None)

    elsewhere = resumed.run_in_new_process(spec, Checkpoint(1, states[0]))

    assert elsewhere["history"] == here["history"][1:]
    assert elsewhere["states"] == here["states"][1:]
    assert elsewhere["weights"] == here["weights"]


def test_a_longer_job_begins_with_the_epochs_of_a_shorter_one() -> None:
    (_, short), (_, long) = _train(make_spec(epochs=2)), _train(make_spec(epochs=4))

    assert history(long.epochs)[:2] == history(short.epochs)


def test_an_epochs_loss_and_accuracy_are_means_over_the_images_of_its_batches() -> None:
    _, monitor = _train(make_spec())

    for epoch in monitor.epochs:
        sizes = np.array([64, 64, 64, 18])
        steps = unpack_steps(epoch.steps)
        for name, values in steps.items():
            assert epoch.values[name] == pytest.approx(np.average(values, weights=sizes), abs=1e-12)
        assert all((share * size).is_integer() for share, size in zip(steps["accuracy"], sizes, strict=True))
        assert epoch.seconds > 0


def test_weights_are_those_after_each_epoch_if_the_spec_keeps_them() -> None:
    weights, monitor = _train(make_spec(keep_weights=True))
    _, other = _train(make_spec())

    assert len({*monitor.weights}) == len(monitor.epochs)
    assert monitor.weights[-1] == to_bytes(weights)
    for state, kept in zip(monitor.states, monitor.weights, strict=True):
        assert kept is not None
        assert kept in state
    assert (other.states, set(other.weights)) == (monitor.states, {None})


def test_a_state_is_made_only_if_the_monitor_requests_it() -> None:
    class Forgetful(RecordingMonitor):
        def epoch(
            self, metrics: EpochMetrics, state: Callable[[], bytes], weights: bytes | None = None
        ) -> None:
            self.epochs.append(metrics)
            if metrics.epoch == 1:
                self.states.append(state())

    monitor = Forgetful()

    _train(make_spec(), monitor=monitor)

    _, everything = _train(make_spec())
    assert monitor.states == [everything.states[1]]


def test_the_monitor_is_told_of_the_steps_within_an_epoch() -> None:
    spec, monitor = make_spec(epochs=2), RecordingMonitor()
    cut = replace(
        backend.configure(deterministic=True), images_per_call=64, step_overhead=0
    )  # a batch a call
    train(spec, make_images(spec), Programs(cut).epoch(Shape.of(spec)), None, monitor)
    assert [each.epoch for each in monitor.steps] == [0, 0, 0, 1, 1, 1]
    for number, begun in enumerate(monitor.steps):
        whole = unpack_steps(monitor.epochs[begun.epoch].steps)
        count = 1 + number % 3
        for name, values in unpack_steps(begun.steps).items():
            assert values.tobytes() == whole[name][:count].tobytes()


def test_a_state_of_another_job_is_refused() -> None:
    _, monitor = _train(make_spec(optimizer=Optimizer.SGD))

    with pytest.raises(AttemptError, match="1 vectors of 5,994 numbers after 4 steps instead of 3 vectors"):
        _train(make_spec(), Checkpoint(1, monitor.states[0]))


def test_a_state_of_another_epoch_is_refused() -> None:
    _, monitor = _train(make_spec())

    with pytest.raises(
        AttemptError, match="after 4 steps instead of 3 vectors of 5,994 numbers after 8 steps"
    ):
        _train(make_spec(), Checkpoint(2, monitor.states[0]))


def _inflated(spec: TrainSpec, factor: float) -> Checkpoint:
    """Return the state after the first epoch of a job whose weights have become too large."""
    weights = initial_weights(spec.model, spec.seed) * np.float32(factor)
    return Checkpoint(1, checkpoints.pack([weights], Shape.of(spec).steps))


def test_a_loss_that_overflows_ends_the_job_with_the_place_and_advice() -> None:
    spec, monitor = make_spec(optimizer=Optimizer.SGD, learning_rate=0.5), RecordingMonitor()
    message = "^the loss is not a finite number in epoch 2, step 1 of 4: try a learning_rate below 0.5$"

    with pytest.raises(NonFiniteLoss, match=message):
        _train(spec, _inflated(spec, 1e20), monitor=monitor)

    assert monitor.epochs == []


def test_a_validation_loss_that_overflows_ends_the_job() -> None:
    spec = make_spec(optimizer=Optimizer.SGD, learning_rate=10, batch_size=512)

    with pytest.raises(
        NonFiniteLoss, match="on the validation images after epoch 2: try a learning_rate below 10"
    ):
        _train(spec, _inflated(spec, 1e10))


@pytest.mark.parametrize("checks", [1, 2])
def test_an_interruption_by_the_monitor_ends_training_at_once(checks: int) -> None:
    monitor = RecordingMonitor()

    def interrupt() -> None:
        if monitor.checks == checks:
            raise CancelRequested

    monitor.on_check = interrupt

    with pytest.raises(CancelRequested):
        _train(make_spec(), monitor=monitor)

    assert monitor.checks == checks
    assert len(monitor.epochs) == checks - 1
