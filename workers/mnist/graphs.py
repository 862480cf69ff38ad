"""What the compiled programs compute, as pure functions of tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

import tensorflow as tf

from shared.schemas import ModelKind, Optimizer, TrainSpec
from workers.mnist.backend import Backend, Tensor
from workers.mnist.model import CLASSES, PIXELS, intensities, logits
from workers.mnist.optimizers import Variables, update

VALIDATION_BATCH = 1_000


@dataclass(frozen=True)
class Shape:
    """What a training program is compiled for. All else is its input."""

    model: ModelKind
    optimizer: Optimizer
    train_size: int
    validation_size: int
    batch_size: int

    @classmethod
    def of(cls, spec: TrainSpec) -> "Shape":
        """The shape of a job."""
        batch_size = min(spec.batch_size, spec.train_size)
        return cls(spec.model, spec.optimizer, spec.train_size, spec.validation_size, batch_size)

    @property
    def steps(self) -> int:
        """Batches in an epoch; the last may be smaller."""
        return ceil(self.train_size / self.batch_size)


class Images(NamedTuple):
    """A job's images (n, 784) and labels (n,).

    On the host these are arrays of bytes; on the device tensors, the images scaled to 0 to 1.
    """

    train: Any
    train_labels: Any
    validation: Any
    validation_labels: Any

    def on_device(self) -> "Images":
        """A copy in the device's memory."""
        return Images(
            intensities(self.train),
            tf.constant(self.train_labels),
            intensities(self.validation),
            tf.constant(self.validation_labels),
        )


def train(
    shape: Shape,
    backend: Backend,
    variables: Variables,
    done: Tensor,
    learning_rate: Tensor,
    images: Images,
    order: Tensor,
) -> tuple[Variables, Tensor]:
    """Train on the images in `order`, whose number is static, with one step a batch.

    Args:
        shape: of the job.
        backend: how operations are done.
        variables: the weights and the optimizer's vectors.
        done: steps made before, as a float.
        learning_rate: of these steps.
        images: on the device.
        order: rows of the training images.

    Returns:
        the variables after the last step, and for each batch a row: its mean loss, how many it got right.
    """

    def step(variables: Variables, first: Tensor, size: int) -> tuple[Variables, Tensor]:
        rows = tf.slice(order, [first], [size])
        labels = tf.gather(images.train_labels, rows)
        with tf.GradientTape() as tape:
            tape.watch(variables[0])
            scores = logits(shape.model, variables[0], tf.gather(images.train, rows), backend)
            loss = tf.reduce_mean(_losses(scores, labels))
        gradient = tape.gradient(loss, variables[0])
        number = done + tf.cast(first // shape.batch_size + 1, tf.float32)
        return update(shape.optimizer, variables, gradient, learning_rate, number), _row(loss, scores, labels)

    return _over_batches(order.shape[0], shape.batch_size, step, variables)


def validate(shape: Shape, backend: Backend, weights: Tensor, images: Images) -> Tensor:
    """Measure a model on the validation images; returns rows as `train` does, one a `VALIDATION_BATCH`."""

    def measure(nothing: Variables, first: Tensor, size: int) -> tuple[Variables, Tensor]:
        labels = tf.slice(images.validation_labels, [first], [size])
        batch = tf.slice(images.validation, [first, 0], [size, PIXELS])
        scores = logits(shape.model, weights, batch, backend)
        return nothing, _row(tf.reduce_mean(_losses(scores, labels)), scores, labels)

    return _over_batches(shape.validation_size, VALIDATION_BATCH, measure, ())[1]


def train_and_validate(
    shape: Shape,
    backend: Backend,
    variables: Variables,
    done: Tensor,
    learning_rate: Tensor,
    images: Images,
    order: Tensor,
) -> tuple[Variables, Tensor, Tensor]:
    """`train`, and then `validate`: the end of an epoch."""
    variables, rows = train(shape, backend, variables, done, learning_rate, images, order)
    return variables, rows, validate(shape, backend, variables[0], images)


def predict(
    kind: ModelKind, backend: Backend, weights: Tensor, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """The probabilities (n, 10) of images (n, 784), and their losses (n,) given their labels (n,)."""
    scores = logits(kind, weights, images, backend)
    return tf.nn.softmax(scores), _losses(scores, labels)


def _losses(scores: Tensor, labels: Tensor) -> Tensor:
    return tf.nn.softmax_cross_entropy_with_logits(labels=tf.one_hot(labels, CLASSES), logits=scores)


def _row(loss: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    right = tf.argmax(scores, axis=1, output_type=tf.int32) == tf.cast(labels, tf.int32)
    return tf.stack([loss, tf.reduce_sum(tf.cast(right, tf.float32))])


def _over_batches(
    count: int,
    size: int,
    batch: Callable[[Variables, Tensor, int], tuple[Variables, Tensor]],
    carried: Variables,
) -> tuple[Variables, Tensor]:
    """Go over `count` items in batches of `size`, the last one smaller if it does not come out even.

    `batch` gets what is carried, the first item and the number of items, and returns what is carried on and a
    row. Returns what was carried last, and all rows.
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
