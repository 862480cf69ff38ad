"""Training: the loop over epochs, from the beginning or from a checkpoint."""

from functools import partial
from time import perf_counter

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from shared.datasets.splits import epoch_order
from shared.errors import NonFiniteLoss
from shared.formats.epochs import EpochMetrics
from shared.formats.weights import Weights, parameter_count, to_bytes
from shared.schemas import TrainSpec
from workers.executor import Checkpoint, Monitor
from workers.mnist import checkpoints
from workers.mnist.graphs import VALIDATION_BATCH, Images
from workers.mnist.model import initial_weights
from workers.mnist.optimizers import SLOTS, Variables
from workers.mnist.programs import BatchMetrics, EpochProgram, Floats


def train(
    spec: TrainSpec, images: Images, program: EpochProgram, start: Checkpoint | None, monitor: Monitor
) -> Weights:
    """Train a model and return its weights.

    Args:
        spec: determines every result, together with the images and the device.
        images: the job's images, on the host.
        start: the checkpoint to resume from; the results are, bit for bit, those of an uninterrupted run.
        monitor: receives each epoch, and the steps so far about twice a second.

    Raises:
        NonFiniteLoss: the loss became infinite or not a number.
        AttemptError: the checkpoint does not match the job.
        AttemptInterrupted: raised by the monitor.
    """
    steps = program.shape.steps
    first_epoch = start.next_epoch if start else 0
    variables = tuple(tf.constant(vector) for vector in _start_vectors(spec, start, first_epoch * steps))
    on_device = images.on_device()
    for epoch in range(first_epoch, spec.epochs):
        started_at = perf_counter()
        order = epoch_order(spec.seed, epoch, spec.train_size)
        so_far = partial(_so_far, spec, program.shape.batch_size, epoch, started_at)
        variables, batches = program.run(
            variables,
            epoch * steps,
            spec.learning_rate,
            on_device,
            order,
            lambda rows, so_far=so_far: monitor.step(partial(so_far, rows)),  # type: ignore[misc]
        )
        monitor.check()
        _require_finite(batches, epoch, spec)
        metrics = _epoch_metrics(spec, program.shape.batch_size, epoch, batches, perf_counter() - started_at)
        weights = to_bytes(variables[0].numpy()) if spec.keep_weights else None
        monitor.epoch(metrics, partial(_pack, variables, (epoch + 1) * steps), weights)
    return _on_host(variables)[0]


def _start_vectors(spec: TrainSpec, start: Checkpoint | None, step: int) -> list[Weights]:
    length, slots = parameter_count(spec.model), SLOTS[spec.optimizer]
    if start:
        return checkpoints.unpack(start.state, 1 + slots, length, step)
    return [initial_weights(spec.model, spec.seed), *(np.zeros(length, np.float32) for _ in range(slots))]


def _pack(variables: Variables, step: int) -> bytes:
    return checkpoints.pack(_on_host(variables), step)


def _on_host(variables: Variables) -> list[Weights]:
    return [vector.numpy() for vector in variables]


def _so_far(
    spec: TrainSpec, batch_size: int, epoch: int, started_at: float, rows: list[Floats]
) -> EpochMetrics:
    """Return an epoch with the values of its steps so far."""
    steps = _steps(np.concatenate(rows), _batch_sizes(spec.train_size, batch_size))
    return EpochMetrics.of(epoch, perf_counter() - started_at, {}, steps)


def _epoch_metrics(
    spec: TrainSpec, batch_size: int, epoch: int, batches: BatchMetrics, seconds: float
) -> EpochMetrics:
    sizes = _batch_sizes(spec.train_size, batch_size)
    loss, accuracy = _means(batches.train, sizes)
    val_loss, val_accuracy = _means(batches.validation, _batch_sizes(spec.validation_size, VALIDATION_BATCH))
    values = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}
    return EpochMetrics.of(epoch, seconds, values, _steps(batches.train, sizes))


def _steps(rows: Floats, sizes: npt.NDArray[np.float64]) -> dict[str, npt.ArrayLike]:
    """Return the metrics of an epoch's first batches, which may be fewer than `sizes`."""
    return {"loss": rows[:, 0], "accuracy": rows[:, 1] / sizes[: len(rows)]}


def _batch_sizes(count: int, batch_size: int) -> npt.NDArray[np.float64]:
    return np.minimum(batch_size, np.arange(count, 0, -batch_size)).astype(np.float64)


def _means(rows: npt.NDArray[np.float32], sizes: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean loss and accuracy over all images, from the rows of their batches."""
    return float(rows[:, 0] @ sizes / sizes.sum()), float(rows[:, 1].sum() / sizes.sum())


def _require_finite(batches: BatchMetrics, epoch: int, spec: TrainSpec) -> None:
    steps = np.flatnonzero(~np.isfinite(batches.train[:, 0]))
    if len(steps):
        place = f"in epoch {epoch + 1}, step {steps[0] + 1} of {len(batches.train)}"
    elif not np.isfinite(batches.validation[:, 0]).all():
        place = f"on the validation images after epoch {epoch + 1}"
    else:
        return
    raise NonFiniteLoss(
        f"the loss is not a finite number {place}: try a learning_rate below {spec.learning_rate:g}"
    )
