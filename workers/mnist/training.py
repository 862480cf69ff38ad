"""Training: the loop over epochs, from the start or from a checkpoint."""

from functools import partial
from time import perf_counter

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from shared.errors import NonFiniteLoss
from shared.schemas import EpochMetrics, TrainSpec
from workers.executor import Checkpoint, Monitor
from workers.mnist import checkpoints
from workers.mnist.graphs import VALIDATION_BATCH, Images
from workers.mnist.model import Weights, initial_weights, parameters
from workers.mnist.optimizers import SLOTS, Variables
from workers.mnist.programs import EpochProgram, Measured
from workers.mnist.splits import epoch_order


def train(
    spec: TrainSpec, images: Images, program: EpochProgram, start: Checkpoint | None, monitor: Monitor
) -> Weights:
    """Train a model and return its weights.

    Args:
        spec: the job. It decides every number, together with the images and the device.
        images: on the host.
        program: of the job's shape.
        start: where to go on. What follows is what would have followed there, bit for bit.
        monitor: hears of each epoch, and is asked about twice a second whether to go on.

    Raises:
        NonFiniteLoss: the loss became infinite or not a number.
        AttemptError: the checkpoint does not fit the job.
        AttemptInterrupted: the monitor asked for the end.
    """
    steps = program.shape.steps
    first_epoch = start.next_epoch if start else 0
    variables = tuple(tf.constant(vector) for vector in _vectors(spec, start, first_epoch * steps))
    on_device = images.on_device()
    for epoch in range(first_epoch, spec.epochs):
        began = perf_counter()
        order = epoch_order(spec.seed, epoch, spec.train_size)
        variables, measured = program.run(
            variables, epoch * steps, spec.learning_rate, on_device, order, monitor.check
        )
        _require_finite(measured, epoch, spec)
        metrics = _metrics(spec, program.shape.batch_size, epoch, measured, perf_counter() - began)
        monitor.epoch(metrics, partial(_pack, variables, (epoch + 1) * steps))
    return _on_host(variables)[0]


def _vectors(spec: TrainSpec, start: Checkpoint | None, step: int) -> list[Weights]:
    length, slots = parameters(spec.model), SLOTS[spec.optimizer]
    if start:
        return checkpoints.unpack(start.state, 1 + slots, length, step)
    return [initial_weights(spec.model, spec.seed), *(np.zeros(length, np.float32) for _ in range(slots))]


def _pack(variables: Variables, step: int) -> bytes:
    return checkpoints.pack(_on_host(variables), step)


def _on_host(variables: Variables) -> list[Weights]:
    return [vector.numpy() for vector in variables]


def _metrics(
    spec: TrainSpec, batch_size: int, epoch: int, measured: Measured, seconds: float
) -> EpochMetrics:
    sizes = _batch_sizes(spec.train_size, batch_size)
    loss, accuracy = _means(measured.train, sizes)
    val_loss, val_accuracy = _means(measured.validation, _batch_sizes(spec.validation_size, VALIDATION_BATCH))
    return EpochMetrics(
        epoch=epoch,
        loss=loss,
        accuracy=accuracy,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        seconds=seconds,
        batch_loss=tuple(measured.train[:, 0].tolist()),
        batch_accuracy=tuple((measured.train[:, 1] / sizes).tolist()),
    )


def _batch_sizes(count: int, batch_size: int) -> npt.NDArray[np.float64]:
    return np.minimum(batch_size, np.arange(count, 0, -batch_size)).astype(np.float64)


def _means(rows: npt.NDArray[np.float32], sizes: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The loss and accuracy over all images, from those of the batches."""
    return float(rows[:, 0] @ sizes / sizes.sum()), float(rows[:, 1].sum() / sizes.sum())


def _require_finite(measured: Measured, epoch: int, spec: TrainSpec) -> None:
    steps = np.flatnonzero(~np.isfinite(measured.train[:, 0]))
    if len(steps):
        place = f"in epoch {epoch + 1}, step {steps[0] + 1} of {len(measured.train)}"
    elif not np.isfinite(measured.validation[:, 0]).all():
        place = f"on the validation images after epoch {epoch + 1}"
    else:
        return
    raise NonFiniteLoss(
        f"the loss is not a finite number {place}: try a learning_rate below {spec.learning_rate:g}"
    )
