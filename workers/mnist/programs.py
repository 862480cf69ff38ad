"""The compiled programs: one trains, one predicts. Made once, they serve every job of their shape."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from shared.schemas import ModelKind
from workers.mnist import graphs
from workers.mnist.backend import Backend
from workers.mnist.graphs import Images, Shape
from workers.mnist.model import PIXELS, Weights, intensities, parameters
from workers.mnist.optimizers import SLOTS, Variables

PREDICTION_BATCH = 500
KEPT_PROGRAMS = 32

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Order = npt.NDArray[np.int32]
Check = Callable[[], None]


class Measured(NamedTuple):
    """What an epoch showed: (n, 2), for each batch the mean loss of its images and how many it got right."""

    train: Floats
    validation: Floats


class EpochProgram:
    """Trains a model for an epoch and measures it on the validation images.

    Weights, optimizer variables, learning rate, images and order are its inputs, and it keeps nothing. An
    epoch that takes long is cut into calls of about half a second, without effect on what comes out.
    """

    def __init__(self, shape: Shape, backend: Backend, traced: Check) -> None:
        self.shape = shape
        self._train = _compiled(partial(graphs.train, shape, backend), backend, traced)
        self._finish = _compiled(partial(graphs.train_and_validate, shape, backend), backend, traced)
        steps = max(1, backend.images_per_call // (shape.batch_size + backend.step_overhead))
        self._cuts = range(0, shape.train_size, steps * shape.batch_size)

    @property
    def calls(self) -> int:
        """Into how many calls an epoch is cut."""
        return len(self._cuts)

    def prepare(self) -> None:
        """Trace and compile what an epoch calls, by calling it on zeros."""
        shape = self.shape
        variables = tuple(tf.zeros(parameters(shape.model)) for _ in range(1 + SLOTS[shape.optimizer]))
        images = Images(
            tf.zeros([shape.train_size, PIXELS]),
            tf.zeros([shape.train_size], tf.uint8),
            tf.zeros([shape.validation_size, PIXELS]),
            tf.zeros([shape.validation_size], tf.uint8),
        )
        order = np.zeros(shape.train_size, np.int32)
        if self.calls > 1:
            self._train(variables, *self._inputs(0, 0.0, images, order, self._cuts[0]))
        self._finish(variables, *self._inputs(0, 0.0, images, order, self._cuts[-1]))

    def run(
        self,
        variables: Variables,
        step: int,
        learning_rate: float,
        images: Images,
        order: Order,
        check: Check,
    ) -> tuple[Variables, Measured]:
        """Train one epoch.

        Args:
            variables: the weights and the optimizer's vectors.
            step: how many steps were made before this epoch.
            learning_rate: of this epoch.
            images: on the device.
            order: in which the epoch goes through the training images.
            check: called after each call of a program.
        """
        trained: list[Floats] = []
        for cut in self._cuts[:-1]:
            variables, rows = self._train(variables, *self._inputs(step, learning_rate, images, order, cut))
            trained.append(rows.numpy())
            check()
        inputs = self._inputs(step, learning_rate, images, order, self._cuts[-1])
        variables, rows, validation = self._finish(variables, *inputs)
        measured = Measured(np.concatenate([*trained, rows.numpy()]), validation.numpy())
        check()
        return variables, measured

    def _inputs(
        self, step: int, learning_rate: float, images: Images, order: Order, cut: int
    ) -> tuple[Any, ...]:
        done = tf.constant(step + cut // self.shape.batch_size, tf.float32)
        rows = tf.constant(order[cut : cut + self._cuts.step])
        return done, tf.constant(learning_rate, tf.float32), images, rows


class PredictionProgram:
    """Says what a model makes of images, a fixed number at a time, so that memory is bounded."""

    def __init__(self, kind: ModelKind, backend: Backend, traced: Check) -> None:
        self._call = _compiled(partial(graphs.predict, kind, backend), backend, traced)

    def run(self, weights: Weights, images: Bytes, labels: Bytes, check: Check) -> tuple[Floats, Floats]:
        """Predict images (n, 784) with labels (n,): their probabilities (n, 10) and losses (n,).

        `check` is called after each batch.
        """
        on_device = tf.constant(weights)
        probabilities, losses = [], []
        for first in range(0, len(images), PREDICTION_BATCH):
            batch = slice(first, first + PREDICTION_BATCH)
            fill = max(0, first + PREDICTION_BATCH - len(images))
            batch_images = np.pad(images[batch], ((0, fill), (0, 0)))
            batch_labels = np.pad(labels[batch], (0, fill))
            result = self._call(on_device, intensities(batch_images), tf.constant(batch_labels))
            probabilities.append(result[0].numpy())
            losses.append(result[1].numpy())
            check()
        return np.concatenate(probabilities)[: len(images)], np.concatenate(losses)[: len(images)]


class Programs:
    """The programs of this process.

    Attributes:
        traces: how often TensorFlow had to trace one; it stands still while jobs of known shapes come.
    """

    def __init__(self, backend: Backend) -> None:
        self.traces = 0
        self._backend = backend
        self.epoch = lru_cache(KEPT_PROGRAMS)(self._epoch)
        self.prediction = lru_cache(KEPT_PROGRAMS)(self._prediction)

    def _epoch(self, shape: Shape) -> EpochProgram:
        program = EpochProgram(shape, self._backend, self._traced)
        program.prepare()
        return program

    def _prediction(self, kind: ModelKind) -> PredictionProgram:
        return PredictionProgram(kind, self._backend, self._traced)

    def _traced(self) -> None:
        self.traces += 1


def _compiled(computation: Callable[..., Any], backend: Backend, traced: Check) -> Callable[..., Any]:
    compiled: Callable[..., Any] = tf.function(
        partial(_traced, computation, traced), autograph=False, jit_compile=backend.jit_compile
    )
    return compiled


def _traced(computation: Callable[..., Any], traced: Check, *inputs: Any) -> Any:
    traced()  # only tracing comes here, not a call of what was traced
    return computation(*inputs)
