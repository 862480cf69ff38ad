from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from shared.datasets.splits import epoch_order
from shared.schemas import ModelKind, Optimizer
from tests.support.synthetic import CallCounter, make_digits, make_images, make_spec
from workers.mnist.backend import CPU, GPU, Backend
from workers.mnist.graphs import Shape
from workers.mnist.model import initial_weights
from workers.mnist.optimizers import SLOTS, Variables
from workers.mnist.programs import BatchMetrics, EpochProgram, Programs

SPEC = make_spec(train_size=210, batch_size=32)
SHAPE = Shape.of(SPEC)


def _start(shape: Shape, seed: int = 1) -> Variables:
    weights = initial_weights(shape.model, seed)
    return tuple(tf.constant(weights * (slot == 0)) for slot in range(1 + SLOTS[shape.optimizer]))


def _epoch(
    program: EpochProgram, check: CallCounter, seed: int = 1, rate: float = 0.01
) -> tuple[bytes, BatchMetrics]:
    shape = program.shape
    order = epoch_order(seed, 0, shape.train_size)
    images = make_images(SPEC).on_device()
    variables, measured = program.run(_start(shape, seed), 0, rate, images, order, check)
    return b"".join(vector.numpy().tobytes() for vector in variables), measured


@pytest.mark.parametrize(("images_per_call", "calls"), [(10_000, 1), (64, 4), (96, 3), (33, 7), (1, 7)])
def test_results_do_not_depend_on_where_an_epoch_is_cut_into_calls(images_per_call: int, calls: int) -> None:
    backend = replace(CPU, images_per_call=images_per_call, step_overhead=0)
    whole, check = EpochProgram(SHAPE, CPU), CallCounter()

    state, measured = _epoch(EpochProgram(SHAPE, backend), check)

    expected_state, expected = _epoch(whole, CallCounter())
    assert check.count == calls - 1
    assert state == expected_state
    assert measured.train.tobytes() == expected.train.tobytes()
    assert measured.validation.tobytes() == expected.validation.tobytes()


@pytest.mark.parametrize(
    ("train_size", "batch_size", "calls"),
    [(5_500, 512, 1), (55_000, 512, 6), (2_000, 1, 6), (55_000, 55_000, 1)],
    ids=["the codelab's", "all of MNIST", "many small batches", "one large batch"],
)
def test_a_call_on_a_cpu_is_half_a_second_of_work_or_one_step(
    train_size: int, batch_size: int, calls: int
) -> None:
    shape = Shape(ModelKind.CNN, Optimizer.ADAM, train_size, 1_000, batch_size)

    assert EpochProgram(shape, CPU).calls == calls


@pytest.mark.parametrize("backend", [CPU, replace(CPU, images_per_call=64)], ids=["whole", "cut"])
def test_a_prepared_program_is_never_traced_again(backend: Backend, traces: CallCounter) -> None:
    program = EpochProgram(SHAPE, backend)
    program.prepare()
    prepared = traces.count

    _epoch(program, CallCounter(), seed=1, rate=0.01)
    _epoch(program, CallCounter(), seed=2, rate=0.5)

    assert traces.count == prepared > 0


def test_xla_gives_the_same_results() -> None:
    shape = Shape.of(make_spec(train_size=210, batch_size=32, model=ModelKind.DENSE))

    _, plain = _epoch(EpochProgram(shape, CPU), CallCounter())
    _, compiled = _epoch(EpochProgram(shape, replace(GPU, images_per_call=96)), CallCounter())

    np.testing.assert_allclose(compiled.train, plain.train, rtol=1e-4)
    np.testing.assert_allclose(compiled.validation, plain.validation, rtol=1e-4)


def test_the_gpu_backend_trains_the_cnn_as_the_cpu_backend_does() -> None:
    _, direct = _epoch(EpochProgram(SHAPE, CPU), CallCounter())
    _, sliced = _epoch(EpochProgram(SHAPE, replace(GPU, jit_compile=False)), CallCounter())

    np.testing.assert_allclose(sliced.train, direct.train, rtol=1e-4)
    np.testing.assert_allclose(sliced.validation, direct.validation, rtol=1e-4)


def test_a_known_shape_gets_the_same_program_without_a_trace(traces: CallCounter) -> None:
    programs = Programs(CPU)
    first = programs.epoch(SHAPE)
    traced = traces.count

    assert programs.epoch(Shape.of(SPEC)) is first
    assert traces.count == traced > 0


def test_beyond_the_limit_the_least_recently_used_program_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.mnist.programs.MAX_CACHED_PROGRAMS", 1)
    programs = Programs(CPU)
    first = programs.prediction(ModelKind.CNN)
    assert programs.prediction(ModelKind.CNN) is first

    programs.prediction(ModelKind.DENSE)

    assert programs.prediction(ModelKind.CNN) is not first


@pytest.mark.parametrize(("count", "calls"), [(1, 1), (500, 1), (501, 2), (1_200, 3)])
def test_any_number_of_images_is_predicted_by_one_program(
    count: int, calls: int, traces: CallCounter
) -> None:
    programs, check = Programs(CPU), CallCounter()
    weights, (images, labels) = initial_weights(ModelKind.CNN, 1), make_digits(count)

    probabilities, losses = programs.prediction(ModelKind.CNN).run(weights, images, labels, check)

    assert (probabilities.shape, losses.shape) == ((count, 10), (count,))
    assert check.count == calls
    assert traces.count == 1


def test_an_images_prediction_does_not_depend_on_how_many_others_there_are() -> None:
    program = Programs(CPU).prediction(ModelKind.CNN)
    weights, (images, labels) = initial_weights(ModelKind.CNN, 1), make_digits(510)

    many, many_losses = program.run(weights, images, labels, CallCounter())
    few, few_losses = program.run(weights, images[:3], labels[:3], CallCounter())

    assert many[:3].tobytes() == few.tobytes()
    assert many_losses[:3].tobytes() == few_losses.tobytes()
