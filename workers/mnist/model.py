"""The two model architectures: the CNN of the TensorFlow.js codelab, and the dense model of its example.

Each is defined twice: as a Keras model, which is exported, and as a pure function of a flat vector of
weights, for the compiled programs. A test compares the two.
"""

from functools import cache
from math import prod, sqrt

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from shared.datasets.randomness import Purpose, generator
from shared.formats.weights import CLASSES, IMAGE_SHAPE, SHAPES, Weights
from shared.schemas import LayerSummary, ModelKind
from workers.mnist.backend import Backend, Tensor

# standard deviation of the standard normal distribution truncated at two standard deviations
_TRUNCATED_DEVIATION = 0.87962566103423978


def initial_weights(kind: ModelKind, seed: int) -> Weights:
    """Return the weights before training: kernels as Keras's `VarianceScaling()`, biases zero."""
    random = generator(seed, Purpose.WEIGHTS)
    parts = [_kernel(random, shape) if len(shape) > 1 else np.zeros(shape) for shape in SHAPES[kind]]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def _kernel(random: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    values = random.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = random.standard_normal(np.count_nonzero(outside))
    return values / (_TRUNCATED_DEVIATION * sqrt(prod(shape[:-1])))


def intensities(images: npt.NDArray[np.uint8]) -> Tensor:
    """Return images of bytes (n, 784) as float32 from 0 to 1, on the device.

    The images are copied as bytes, and divided here once instead of in each step: a compiled program would
    multiply by 1/255, whose result differs in the last bit.
    """
    return tf.cast(tf.constant(images), tf.float32) / 255


def logits(kind: ModelKind, weights: Tensor, images: Tensor, backend: Backend) -> Tensor:
    """Return the model's outputs (n, 10) before the softmax, for images (n, 784) from 0 to 1."""
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
    # pooling before the ReLU would be slightly faster; in this order a CPU gives the same bits as Keras
    return backend.pool(tf.nn.relu(tf.nn.bias_add(backend.convolve(x, kernel), bias)))


def _dense(arrays: list[Tensor], images: Tensor) -> Tensor:
    kernel_1, bias_1, kernel_2, bias_2 = arrays
    hidden = tf.nn.relu(tf.nn.bias_add(tf.matmul(images, kernel_1), bias_1))
    return tf.nn.bias_add(tf.matmul(hidden, kernel_2), bias_2)


@cache
def keras_model(kind: ModelKind) -> keras.Model:
    """Return the architecture as a Keras model; one object per process, so set its weights before use."""
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
    """Return a summary of each of the model's layers, in order."""
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
