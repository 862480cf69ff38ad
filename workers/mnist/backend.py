"""What differs between devices: how the two costly operations are written, and what is compiled.

As measured: on a GPU a job is bound by kernel launches, so XLA's fusion pays, with convolution as a matrix
product and pooling by slices, whose bits are the same in every run. On a CPU oneDNN's own operations are four
times as fast as these, and XLA is ten times slower.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from shared.errors import DeviceOutOfMemory

Tensor = Any  # TensorFlow has no type information


def convolve_directly(images: Tensor, kernel: Tensor) -> Tensor:
    """Slide a kernel (rows, columns, channels, filters) over images (n, height, width, channels)."""
    return tf.nn.conv2d(images, kernel, strides=1, padding="VALID")


def convolve_by_matmul(images: Tensor, kernel: Tensor) -> Tensor:
    """The same as `convolve_directly`: every patch becomes a row, and the kernel a matrix."""
    rows, columns, channels, filters = kernel.shape
    height, width = images.shape[1] - rows + 1, images.shape[2] - columns + 1
    shifted = [images[:, i : i + height, j : j + width] for i in range(rows) for j in range(columns)]
    patches = tf.reshape(tf.concat(shifted, axis=-1), [-1, rows * columns * channels])
    product = tf.matmul(patches, tf.reshape(kernel, [-1, filters]))
    return tf.reshape(product, [-1, height, width, filters])


def pool_directly(images: Tensor) -> Tensor:
    """The maximum of every 2x2 square of images (n, height, width, channels)."""
    return tf.nn.max_pool2d(images, ksize=2, strides=2, padding="VALID")


def pool_by_slices(images: Tensor) -> Tensor:
    """The same as `pool_directly`.

    Columns come first, so that the gradient goes, of equal values, to the first in reading order, as there.
    """
    columns = tf.maximum(images[:, :, 0::2], images[:, :, 1::2])
    return tf.maximum(columns[:, 0::2], columns[:, 1::2])


@dataclass(frozen=True)
class Backend:
    """How programs are built for one kind of device.

    Attributes:
        convolve: an unpadded convolution.
        pool: 2x2 max pooling.
        jit_compile: whether XLA compiles programs.
        images_per_call: how many images a program trains on in about half a second, so that a job can be
            interrupted between two calls.
        step_overhead: what a training step costs beside its images, in images.
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
    """Set TensorFlow up, before its first operation, and say how programs are built here.

    Memory of a GPU is taken as it is needed, so that processes can share it. Float32 means float32: with
    TensorFloat-32 the numbers would differ from a CPU's, and the job is too small to be faster by it.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        if not tf.config.experimental.get_memory_growth(gpu):  # it may be set only once
            tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    return GPU if gpus else CPU


def device_name() -> str:
    """The first GPU's name, such as `NVIDIA H100 80GB HBM3`, or `CPU`."""
    for gpu in tf.config.list_physical_devices("GPU"):
        return str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
    return "CPU"


def gpu_versions() -> dict[str, str]:
    """The versions of the GPU's libraries; nothing where there is no GPU."""
    if not tf.config.list_physical_devices("GPU"):
        return {}
    build = tf.sysconfig.get_build_info()
    return {name: str(build[f"{name}_version"]) for name in ("cuda", "cudnn") if f"{name}_version" in build}


@contextmanager
def out_of_memory_named() -> Iterator[None]:
    """Turn TensorFlow's ways to say that memory ran out into ours.

    Raises:
        DeviceOutOfMemory: it did.
    """
    try:
        yield
    except tf.errors.OpError as error:
        # what XLA runs out of arrives as an internal error, with the status in its text
        if (
            not isinstance(error, tf.errors.ResourceExhaustedError)
            and "RESOURCE_EXHAUSTED" not in error.message
        ):
            raise
        reason = error.message.partition("\n")[0]
        raise DeviceOutOfMemory(
            f"{device_name()} ran out of memory; a smaller batch_size needs less: {reason}"
        ) from error
