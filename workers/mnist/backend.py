"""Device-dependent implementations: convolution and pooling, and whether XLA compiles the programs.

Measured: on a GPU a job is bound by kernel launches, so XLA's fusion pays off, with convolution as a matrix
product and pooling by slices, which give the same bits in every run. On a CPU oneDNN's own operations are
four times as fast as these, and XLA is ten times slower.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from shared.errors import DeviceOutOfMemory
from workers.executor import CPU_DEVICE

Tensor = Any  # TensorFlow has no type information


def convolve_directly(images: Tensor, kernel: Tensor) -> Tensor:
    """Convolve images (n, height, width, channels) with a kernel (rows, columns, channels, filters).

    Without padding, stride 1; returns (n, height - rows + 1, width - columns + 1, filters).
    """
    return tf.nn.conv2d(images, kernel, strides=1, padding="VALID")


def convolve_by_matmul(images: Tensor, kernel: Tensor) -> Tensor:
    """Convolve as `convolve_directly` does, by a matrix product: each patch is a row, the kernel a matrix."""
    rows, columns, channels, filters = kernel.shape
    height, width = images.shape[1] - rows + 1, images.shape[2] - columns + 1
    shifted = [images[:, i : i + height, j : j + width] for i in range(rows) for j in range(columns)]
    patches = tf.reshape(tf.concat(shifted, axis=-1), [-1, rows * columns * channels])
    product = tf.matmul(patches, tf.reshape(kernel, [-1, filters]))
    return tf.reshape(product, [-1, height, width, filters])


def pool_directly(images: Tensor) -> Tensor:
    """Return the maximum of each 2x2 square of images (n, height, width, channels)."""
    return tf.nn.max_pool2d(images, ksize=2, strides=2, padding="VALID")


def pool_by_slices(images: Tensor) -> Tensor:
    """Pool as `pool_directly` does, by maxima of slices.

    Pairs of columns come first, so that among equal values the gradient goes to the first in reading order,
    as it does in `pool_directly`.
    """
    columns = tf.maximum(images[:, :, 0::2], images[:, :, 1::2])
    return tf.maximum(columns[:, 0::2], columns[:, 1::2])


@dataclass(frozen=True)
class Backend:
    """Implementation choices for one kind of device.

    Attributes:
        convolve: an unpadded convolution with stride 1.
        pool: 2x2 max pooling.
        jit_compile: whether XLA compiles the programs.
        images_per_call: how many images a program trains on in about half a second; a job can be interrupted
            between two calls.
        step_overhead: fixed cost of a training step, in the time of one image.
    """

    convolve: Callable[[Tensor, Tensor], Tensor]
    pool: Callable[[Tensor], Tensor]
    jit_compile: bool
    images_per_call: int
    step_overhead: int


CPU = Backend(convolve_directly, pool_directly, jit_compile=False, images_per_call=10_000, step_overhead=25)
GPU = Backend(
    convolve_by_matmul, pool_by_slices, jit_compile=True, images_per_call=1_000_000, step_overhead=500
)


def configure(deterministic: bool) -> Backend:
    """Configure TensorFlow, before its first operation; return the backend of this process's device.

    GPU memory is allocated as needed, so that processes can share a GPU. TensorFloat-32 is disabled: results
    would differ from a CPU's, and jobs are too small to gain from it. With `deterministic` TensorFlow's
    operations give the same bits in every run.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        if not tf.config.experimental.get_memory_growth(gpu):  # raises if it is set a second time
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    return GPU if gpus else CPU


def device_name() -> str:
    """Return the first GPU's name, such as `NVIDIA H100 80GB HBM3`, or `CPU`."""
    for gpu in tf.config.list_physical_devices("GPU"):
        return str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
    return CPU_DEVICE


def gpu_versions() -> dict[str, str]:
    """Return the versions of the GPU libraries `cuda` and `cudnn`; empty without a GPU."""
    if not tf.config.list_physical_devices("GPU"):
        return {}
    build = tf.sysconfig.get_build_info()
    return {name: str(build[f"{name}_version"]) for name in ("cuda", "cudnn") if f"{name}_version" in build}


@contextmanager
def translate_out_of_memory() -> Iterator[None]:
    """Translate TensorFlow's out-of-memory errors; others pass unchanged.

    Raises:
        DeviceOutOfMemory: the device ran out of memory.
    """
    try:
        yield
    except tf.errors.OpError as error:
        # XLA raises an internal error, with the status in its text
        is_exhausted = isinstance(error, tf.errors.ResourceExhaustedError)
        if not is_exhausted and "RESOURCE_EXHAUSTED" not in error.message:
            raise
        reason = error.message.partition("\n")[0]
        message = f"{device_name()} ran out of memory; a smaller batch_size needs less: {reason}"
        raise DeviceOutOfMemory(message) from error
