"""Compiled programs for training and prediction, created once for each shape and reused by later jobs."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from shared.formats.weights import PIXELS, Weights, parameter_count
from shared.schemas import ModelKind
from workers.mnist import graphs
from workers.mnist.backend import Backend
from workers.mnist.graphs import Images, Inputs, Shape
from workers.mnist.model import intensities
from workers.mnist.optimizers import SLOTS, Variables

PREDICTION_BATCH = 500
MAX_CACHED_PROGRAMS = 32

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Order = npt.NDArray[np.int32]
Check = Callable[[], None]
Report = Callable[[list[Floats]], None]


class BatchMetrics(NamedTuple):
    """Metrics of an epoch's batches: (n, 2), each batch's mean loss and number of correct predictions."""

    train: Floats
    validation: Floats


class EpochProgram:
    """Trains a model for one epoch and evaluates it on the validation images.

    It keeps no state: weights, optimizer slots, learning rate, images and order are its inputs. A long epoch
    is cut into calls of about half a second, which does not change its results.

    Attributes:
        calls: number of calls that an epoch is cut into.
    """

    def __init__(self, shape: Shape, backend: Backend) -> None:
        self.shape = shape
        self._train = _compiled(partial(graphs.train, shape, backend), backend)
        self._finish = _compiled(partial(graphs.train_and_validate, shape, backend), backend)
        steps = max(1, backend.images_per_call // (shape.batch_size + backend.step_overhead))
        self._cuts = range(0, shape.train_size, steps * shape.batch_size)
        self.calls = len(self._cuts)

    def prepare(self) -> None:
        """Trace and compile everything that an epoch calls, by calling it on zeros."""
        shape = self.shape
        variables = tuple(tf.zeros(parameter_count(shape.model)) for _ in range(1 + SLOTS[shape.optimizer]))
        images = Images(
            tf.zeros([shape.train_size, PIXELS]),
            tf.zeros([shape.train_size], tf.uint8),
            tf.zeros([shape.validation_size, PIXELS]),
            tf.zeros([shape.validation_size], tf.uint8),
        )
        order = np.zeros(shape.train_size, np.int32)
        if self.calls > 1:
            self._train(variables, self._inputs(0, 0.0, images, order, self._cuts[0]))
        self._finish(variables, self._inputs(0, 0.0, images, order, self._cuts[-1]))

    def run(
        self,
        variables: Variables,
        step: int,
        learning_rate: float,
        images: Images,
        order: Order,
        report: Report,
    ) -> tuple[Variables, BatchMetrics]:
        """Train for one epoch; return the variables after it and the metrics of its batches.

        Args:
            step: number of training steps before this epoch.
            images: the job's images, on the device.
            order: rows of the training images, in the order in which they are used.
            report: called after each call of a program but the last, with the rows of all batches so far, as
                in `BatchMetrics.train`; it is the same list each time, which grows.
        """
        train_rows: list[Floats] = []
        for cut in self._cuts[:-1]:
            variables, rows = self._train(variables, self._inputs(step, learning_rate, images, order, cut))
            train_rows.append(rows.numpy())
            report(train_rows)
        inputs = self._inputs(step, learning_rate, images, order, self._cuts[-1])
        variables, rows, validation = self._finish(variables, inputs)
        return variables, BatchMetrics(np.concatenate([*train_rows, rows.numpy()]), validation.numpy())

    def _inputs(self, step: int, learning_rate: float, images: Images, order: Order, cut: int) -> Inputs:
        return Inputs(
            steps_done=tf.constant(step + cut // self.shape.batch_size, tf.float32),
            learning_rate=tf.constant(learning_rate, tf.float32),
            images=images,
            order=tf.constant(order[cut : cut + self._cuts.step]),
        )


class PredictionProgram:
    """Predicts the classes of images, in batches of a fixed size, so that memory is bounded."""

    def __init__(self, kind: ModelKind, backend: Backend) -> None:
        self._predict = _compiled(partial(graphs.predict, kind, backend), backend)

    def run(self, weights: Weights, images: Bytes, labels: Bytes, check: Check) -> tuple[Floats, Floats]:
        """Return probabilities (n, 10) and losses (n,) for images (n, 784) with labels (n,).

        `check` is called after each batch.
        """
        on_device = tf.constant(weights)
        probabilities, losses = [], []
        for first in range(0, len(images), PREDICTION_BATCH):
            batch = slice(first, first + PREDICTION_BATCH)
            padding = max(0, first + PREDICTION_BATCH - len(images))
            batch_images = np.pad(images[batch], ((0, padding), (0, 0)))
            batch_labels = np.pad(labels[batch], (0, padding))
            result = self._predict(on_device, intensities(batch_images), tf.constant(batch_labels))
            probabilities.append(result[0].numpy())
            losses.append(result[1].numpy())
            check()
        return np.concatenate(probabilities)[: len(images)], np.concatenate(losses)[: len(images)]


class Programs:
    """The process's cache of programs; the least recently used are dropped.

    Attributes:
        epoch: returns the prepared program for a shape.
        prediction: returns the program for a model.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.epoch = lru_cache(MAX_CACHED_PROGRAMS)(self._prepared)
        self.prediction = lru_cache(MAX_CACHED_PROGRAMS)(partial(PredictionProgram, backend=backend))

    def _prepared(self, shape: Shape) -> EpochProgram:
        program = EpochProgram(shape, self._backend)
        program.prepare()
        return program


def _compiled(computation: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
    compiled: Callable[..., Any] = tf.function(computation, autograph=False, jit_compile=backend.jit_compile)
    return compiled
