"""Training on a GPU gives the same bits in every process, and a CPU's results up to rounding.

Needs TensorFlow and a GPU, but no database and no Redis. On a machine that has only those:
`python -m pytest -c /dev/null --rootdir . --noconftest tests/gpu/test_resume.py`.
"""

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from shared.schemas import ModelKind, Optimizer, TrainSpec
from tests.support import resumed
from tests.support.synthetic import RecordingMonitor, make_images, make_spec
from workers.executor import Checkpoint
from workers.mnist import backend
from workers.mnist.backend import CPU, GPU, Backend
from workers.mnist.graphs import Shape
from workers.mnist.model import initial_weights, intensities, logits
from workers.mnist.programs import Programs
from workers.mnist.training import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),  # XLA compiles in each process
    pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="TensorFlow sees no GPU"),
]

# the codelab's shape: 11 steps per epoch, the last one smaller
SPEC = TrainSpec(train_size=5_500, validation_size=1_000, evaluation_size=500, seed=1, epochs=4)


def test_every_process_trains_and_resumes_to_the_same_bits() -> None:
    complete, states = resumed.run(SPEC, None)

    repeated = resumed.run_in_new_process(SPEC, None)
    rest = resumed.run_in_new_process(SPEC, Checkpoint(2, states[1]))

    assert repeated == complete
    assert rest["history"] == complete["history"][2:]
    assert rest["states"] == complete["states"][2:]
    assert rest["weights"] == complete["weights"]


def test_every_repeat_in_a_process_gives_the_same_bits() -> None:
    runs = [resumed.run(SPEC, None)[0] for _ in range(3)]

    assert runs[0] == runs[1] == runs[2]


def _scores_and_gradient(device: str, operations: Backend) -> list[npt.NDArray[np.float32]]:
    images = make_images(make_spec())
    with tf.device(device), tf.GradientTape() as tape:
        weights = tf.constant(initial_weights(ModelKind.CNN, 1))
        tape.watch(weights)
        scores = logits(ModelKind.CNN, weights, intensities(images.train), operations)
        total = tf.reduce_mean(tf.square(scores))
    return [scores.numpy(), tape.gradient(total, weights).numpy()]


def test_the_gpu_backends_operations_agree_with_the_cpu_backends() -> None:
    backend.configure(deterministic=True)

    on_gpu, on_cpu = _scores_and_gradient("/GPU:0", GPU), _scores_and_gradient("/CPU:0", CPU)
    for actual, expected in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ModelKind)
@pytest.mark.parametrize("optimizer", Optimizer)
def test_a_job_on_a_gpu_has_the_losses_of_the_same_job_on_a_cpu(
    kind: ModelKind, optimizer: Optimizer
) -> None:
    spec = make_spec(model=kind, optimizer=optimizer)
    losses = []
    for device, operations in (("/GPU:0", backend.configure(deterministic=True)), ("/CPU:0", CPU)):
        monitor = RecordingMonitor()
        with tf.device(device):
            program = Programs(operations).epoch(Shape.of(spec))
            train(spec, make_images(spec), program, None, monitor)
        losses.append([epoch.values[name] for epoch in monitor.epochs for name in ("loss", "val_loss")])

    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
