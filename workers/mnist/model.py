"""The two architectures of the TensorFlow.js codelab and its family.

Each stands here twice: as a Keras model, for people, and as a pure function of a flat vector of weights, for
the compiled programs. A test holds them equal.
"""

from functools import cache
from math import prod, sqrt

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from shared.schemas import LayerSummary, ModelKind
from workers.mnist.backend import Backend, Tensor
from workers.mnist.randomness import Purpose, generator

IMAGE_SHAPE = (28, 28, 1)
PIXELS = prod(IMAGE_SHAPE)
CLASSES = 10

Weights = npt.NDArray[np.float32]
"""All weights of a model in one flat vector: layer by layer, each layer's kernel and then its bias."""

SHAPES: dict[ModelKind, tuple[tuple[int, ...], ...]] = {
    ModelKind.CNN: ((5, 5, 1, 8), (8,), (5, 5, 8, 16), (16,), (256, CLASSES), (CLASSES,)),
    ModelKind.DENSE: ((PIXELS, 42), (42,), (42, CLASSES), (CLASSES,)),
}

# Standard deviation of a normal distribution cut off at two standard deviations.
_TRUNCATED_DEVIATION = 0.87962566103423978


def parameters(kind: ModelKind) -> int:
    """How many weights the architecture has."""
    return sum(prod(shape) for shape in SHAPES[kind])


def initial_weights(kind: ModelKind, seed: int) -> Weights:
    """Where training begins: kernels by Keras's `VarianceScaling()`, biases zero, from the seed alone."""
    random = generator(seed, Purpose.WEIGHTS)
    parts = [_kernel(random, shape) if len(shape) > 1 else np.zeros(shape) for shape in SHAPES[kind]]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def _kernel(random: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    values = random.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = random.standard_normal(np.count_nonzero(outside))
    return values / (_TRUNCATED_DEVIATION * sqrt(prod(shape[:-1])))


def split(kind: ModelKind, weights: Weights) -> list[Weights]:
    """The flat vector as Keras's list of arrays, for `set_weights`."""
    ends = np.cumsum([prod(shape) for shape in SHAPES[kind]])
    pieces = np.split(weights, ends[:-1])
    return [piece.reshape(shape) for piece, shape in zip(pieces, SHAPES[kind], strict=True)]


def intensities(images: npt.NDArray[np.uint8]) -> Tensor:
    """Images of bytes as float32 from 0 to 1, on the device.

    They travel as bytes, and are divided here once and not in each step: a compiled program would multiply by
    1/255, which is not the same in the last bit.
    """
    return tf.cast(tf.constant(images), tf.float32) / 255


def logits(kind: ModelKind, weights: Tensor, images: Tensor, backend: Backend) -> Tensor:
    """What the model says of each image, before the softmax.

    Args:
        kind: the architecture.
        weights: a flat vector.
        images: (n, 784), as `intensities` gives them.
        backend: how the operations are done.
    """
    pieces = tf.split(weights, [prod(shape) for shape in SHAPES[kind]])
    arrays = [tf.reshape(piece, shape) for piece, shape in zip(pieces, SHAPES[kind], strict=True)]
    return _cnn(arrays, images, backend) if kind is ModelKind.CNN else _dense(arrays, images)


def _cnn(arrays: list[Tensor], images: Tensor, backend: Backend) -> Tensor:
    kernel_1, bias_1, kernel_2, bias_2, kernel_3, bias_3 = arrays
    x = tf.reshape(images, [-1, *IMAGE_SHAPE])
    x = _convolution(x, kernel_1, bias_1, backend)
    x = _convolution(x, kernel_2, bias_2, backend)
    return tf.nn.bias_add(tf.matmul(tf.reshape(x, [-1, 256]), kernel_3), bias_3)


def _convolution(x: Tensor, kernel: Tensor, bias: Tensor, backend: Backend) -> Tensor:
    # pooling first would be a little faster; in Keras's order a CPU gives Keras's numbers to the last bit
    return backend.pool(tf.nn.relu(tf.nn.bias_add(backend.convolve(x, kernel), bias)))


def _dense(arrays: list[Tensor], images: Tensor) -> Tensor:
    kernel_1, bias_1, kernel_2, bias_2 = arrays
    hidden = tf.nn.relu(tf.nn.bias_add(tf.matmul(images, kernel_1), bias_1))
    return tf.nn.bias_add(tf.matmul(hidden, kernel_2), bias_2)


@cache
def keras_model(kind: ModelKind) -> keras.Model:
    """The architecture in Keras. One object a process, so set its weights before use."""
    return keras.Sequential([keras.Input(IMAGE_SHAPE, name="images"), *_LAYERS[kind]()], name=kind.value)


def _cnn_layers() -> list[keras.Layer]:
    layers = keras.layers
    convolution = {"kernel_size": 5, "activation": "relu", "kernel_initializer": "variance_scaling"}
    return [
        layers.Conv2D(8, name="conv1", **convolution),
        layers.MaxPooling2D(2, name="pool1"),
        layers.Conv2D(16, name="conv2", **convolution),
        layers.MaxPooling2D(2, name="pool2"),
        layers.Flatten(name="flatten"),
        _probabilities(),
    ]


def _dense_layers() -> list[keras.Layer]:
    layers = keras.layers
    hidden = layers.Dense(42, activation="relu", kernel_initializer="variance_scaling", name="hidden")
    return [layers.Flatten(name="flatten"), hidden, _probabilities()]


def _probabilities() -> keras.Layer:
    return keras.layers.Dense(
        CLASSES, activation="softmax", kernel_initializer="variance_scaling", name="probabilities"
    )


_LAYERS = {ModelKind.CNN: _cnn_layers, ModelKind.DENSE: _dense_layers}


def summary(kind: ModelKind) -> tuple[LayerSummary, ...]:
    """The model's layers, in order."""
    return tuple(
        LayerSummary(
            name=layer.name,
            type=type(layer).__name__,
            output_shape=tuple(layer.output.shape[1:]),
            parameters=layer.count_params(),
            trainable=layer.trainable,
        )
        for layer in keras_model(kind).layers
    )
