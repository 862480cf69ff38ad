from math import prod, sqrt

import numpy as np
import pytest
import tensorflow as tf

from api.prediction.layer_table import layer_table
from shared.formats.weights import ARRAYS, SHAPES, parameter_count, split
from shared.schemas import ModelKind
from tests.support.synthetic import make_digits
from workers.mnist.backend import CPU, GPU, Backend
from workers.mnist.model import initial_weights, intensities, keras_model, logits, summary


def test_the_cnn_is_the_codelabs() -> None:
    assert [(layer.type, layer.output_shape, layer.parameters) for layer in summary(ModelKind.CNN)] == [
        ("Conv2D", (24, 24, 8), 208),
        ("MaxPooling2D", (12, 12, 8), 0),
        ("Conv2D", (8, 8, 16), 3_216),
        ("MaxPooling2D", (4, 4, 16), 0),
        ("Flatten", (256,), 0),
        ("Dense", (10,), 2_570),
    ]
    assert parameter_count(ModelKind.CNN) == 5_994


def test_the_dense_model_is_that_of_the_tensorflow_js_example() -> None:
    assert [(layer.type, layer.output_shape, layer.parameters) for layer in summary(ModelKind.DENSE)] == [
        ("Flatten", (784,), 0),
        ("Dense", (42,), 32_970),
        ("Dense", (10,), 430),
    ]
    assert parameter_count(ModelKind.DENSE) == 33_400


@pytest.mark.parametrize("kind", ModelKind)
def test_layers_have_distinct_names_and_are_trainable(kind: ModelKind) -> None:
    layers = summary(kind)

    assert len({layer.name for layer in layers}) == len(layers)
    assert all(layer.trainable for layer in layers)


@pytest.mark.parametrize("kind", ModelKind)
def test_the_pages_show_the_same_layers_for_jobs_without_a_model(kind: ModelKind) -> None:
    assert layer_table(kind) == summary(kind)


@pytest.mark.parametrize("kind", ModelKind)
def test_a_flat_vector_splits_into_keras_own_arrays(kind: ModelKind) -> None:
    arrays = split(kind, initial_weights(kind, 1))

    theirs = keras_model(kind).weights
    assert [array.shape for array in arrays] == [tuple(variable.shape) for variable in theirs]
    assert [f"{kind}/{array.name}" for array in ARRAYS[kind]] == [variable.path for variable in theirs]


@pytest.mark.parametrize("backend", [CPU, GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("kind", ModelKind)
def test_the_pure_function_predicts_what_the_keras_model_predicts(kind: ModelKind, backend: Backend) -> None:
    weights, (images, _) = initial_weights(kind, 1), make_digits(20)
    model = keras_model(kind)
    model.set_weights(split(kind, weights))

    ours = tf.nn.softmax(logits(kind, tf.constant(weights), intensities(images), backend))

    theirs = model(images.reshape(-1, 28, 28, 1).astype(np.float32) / 255)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_intensities_equal_numpys_division_bit_for_bit() -> None:
    image = np.arange(256, dtype=np.uint8)

    assert intensities(image).numpy().tobytes() == (image / np.float32(255)).astype(np.float32).tobytes()


def test_initial_weights_are_determined_by_the_seed() -> None:
    assert initial_weights(ModelKind.CNN, 1).tobytes() == initial_weights(ModelKind.CNN, 1).tobytes()
    assert initial_weights(ModelKind.CNN, 1).tobytes() != initial_weights(ModelKind.CNN, 2).tobytes()


@pytest.mark.parametrize("kind", ModelKind)
def test_initial_kernels_are_variance_scaled_and_truncated_and_biases_are_zero(kind: ModelKind) -> None:
    draws = [split(kind, initial_weights(kind, seed)) for seed in range(30)]

    for position, shape in enumerate(SHAPES[kind]):
        values = np.concatenate([draw[position].ravel() for draw in draws])
        if len(shape) == 1:
            assert not values.any()
        else:
            deviation = 1 / sqrt(prod(shape[:-1]))
            assert values.std() == pytest.approx(deviation, rel=0.03)
            assert abs(values.mean()) < deviation / 20
            assert np.abs(values).max() <= 2.001 * deviation / 0.8796
