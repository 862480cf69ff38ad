"""Computations of the compiled programs, as pure functions of tensors: train, validate, predict."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

import tensorflow as tf

from shared.formats.weights import CLASSES, PIXELS
from shared.schemas import ModelKind, Optimizer, TrainSpec
from workers.mnist.backend import Backend, Tensor
from workers.mnist.model import intensities, logits
from workers.mnist.optimizers import Variables, update

VALIDATION_BATCH = 1_000


@dataclass(frozen=True)
class Shape:
    """Static properties that a training program is compiled for; everything else is its input."""

    model: ModelKind
    optimizer: Optimizer
    train_size: int
    validation_size: int
    batch_size: int

    @classmethod
    def of(cls, spec: TrainSpec) -> "Shape":
        """Return the shape of a job; a batch is never larger than the training set."""
        batch_size = min(spec.batch_size, spec.train_size)
        return cls(spec.model, spec.optimizer, spec.train_size, spec.validation_size, batch_size)

    @property
    def steps(self) -> int:
        """Number of batches in an epoch; the last may be smaller."""
        return ceil(self.train_size / self.batch_size)


class Images(NamedTuple):
    """A job's training and validation images (n, 784) and their labels (n,).

    On the host these are uint8 arrays; on the device tensors, with the images scaled to 0 to 1.
    """

    train: Any
    train_labels: Any
    validation: Any
    validation_labels: Any

    def on_device(self) -> "Images":
        """Return a copy in the device's memory."""
        return Images(
            intensities(self.train),
            tf.constant(self.train_labels),
            intensities(self.validation),
            tf.constant(self.validation_labels),
        )


class Inputs(NamedTuple):
    """Inputs of a training program besides the variables.

    Attributes:
        steps_done: training steps before the first one of this call, as a float.
        learning_rate: the learning rate of these steps.
        images: the job's images, on the device.
        order: rows of the training images to train on, in this order; their number is static.
    """

    steps_done: Tensor
    learning_rate: Tensor
    images: Images
    order: Tensor


def train(shape: Shape, backend: Backend, variables: Variables, inputs: Inputs) -> tuple[Variables, Tensor]:
    """Train on the images in `inputs.order`, one step per batch.

    Returns the variables after the last step, and for each batch a row of its mean loss and its number of
    correct predictions, both before its step.
    """
    steps_done, learning_rate, images, order = inputs

    def step(variables: Variables, first: Tensor, size: int) -> tuple[Variables, Tensor]:
        rows = tf.slice(order, [first], [size])
        labels = tf.gather(images.train_labels, rows)
        with tf.GradientTape() as tape:
            tape.watch(variables[0])
            scores = logits(shape.model, variables[0], tf.gather(images.train, rows), backend)
            loss = tf.reduce_mean(_losses(scores, labels))
        gradient = tape.gradient(loss, variables[0])
        number = steps_done + tf.cast(first // shape.batch_size + 1, tf.float32)
        return update(shape.optimizer, variables, gradient, learning_rate, number), _row(loss, scores, labels)

    return _over_batches(order.shape[0], shape.batch_size, step, variables)


def validate(shape: Shape, backend: Backend, weights: Tensor, images: Images) -> Tensor:
    """Evaluate a model on the validation images; return a row, as `train` does, for each batch of them."""

    def step(nothing: Variables, first: Tensor, size: int) -> tuple[Variables, Tensor]:
        labels = tf.slice(images.validation_labels, [first], [size])
        batch = tf.slice(images.validation, [first, 0], [size, PIXELS])
        scores = logits(shape.model, weights, batch, backend)
        return nothing, _row(tf.reduce_mean(_losses(scores, labels)), scores, labels)

    return _over_batches(shape.validation_size, VALIDATION_BATCH, step, ())[1]


def train_and_validate(
    shape: Shape, backend: Backend, variables: Variables, inputs: Inputs
) -> tuple[Variables, Tensor, Tensor]:
    """Finish an epoch: `train`, then `validate`; returns the variables and the rows of both."""
    variables, rows = train(shape, backend, variables, inputs)
    return variables, rows, validate(shape, backend, variables[0], inputs.images)


def predict(
    kind: ModelKind, backend: Backend, weights: Tensor, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the probabilities (n, 10) for images (n, 784), and the losses (n,) for their labels (n,)."""
    scores = logits(kind, weights, images, backend)
    return tf.nn.softmax(scores), _losses(scores, labels)


def _losses(scores: Tensor, labels: Tensor) -> Tensor:
    return tf.nn.softmax_cross_entropy_with_logits(labels=tf.one_hot(labels, CLASSES), logits=scores)


def _row(loss: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    correct = tf.argmax(scores, axis=1, output_type=tf.int32) == tf.cast(labels, tf.int32)
    return tf.stack([loss, tf.reduce_sum(tf.cast(correct, tf.float32))])


def _over_batches(
    count: int,
    size: int,
    batch: Callable[[Variables, Tensor, int], tuple[Variables, Tensor]],
    carried: Variables,
) -> tuple[Variables, Tensor]:
    """Loop over `count` items in batches of `size`; the last batch has the remainder.

    `batch` is called with the carried variables, the index of its first item and its number of items; it
    returns the variables for the next batch and a row. Return the last variables and the rows of all batches.
    """
    full, rest = divmod(count, size)
    tables = []
    if full:
        carried, table = _loop(full, lambda carried, number: batch(carried, number * size, size), carried)
        tables.append(table)
    if rest:
        carried, row = batch(carried, full * size, rest)
        tables.append(row[tf.newaxis])
    return carried, tf.concat(tables, axis=0)


def _loop(
    count: int, body: Callable[[Variables, Tensor], tuple[Variables, Tensor]], carried: Variables
) -> tuple[Variables, Tensor]:
    def step(number: Tensor, carried: Variables, rows: Tensor) -> tuple[Tensor, Variables, Tensor]:
        carried, row = body(carried, number)
        return number + 1, carried, rows.write(number, row)

    rows = tf.TensorArray(tf.float32, size=count, element_shape=[2])
    _, carried, rows = tf.while_loop(lambda number, *_: number < count, step, (tf.constant(0), carried, rows))
    return carried, rows.stack()
