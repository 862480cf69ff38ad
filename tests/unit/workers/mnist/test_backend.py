import numpy as np
import pytest
import tensorflow as tf

from shared.errors import DeviceOutOfMemory
from workers.mnist import backend
from workers.mnist.backend import CPU, GPU, Tensor

random = np.random.default_rng(5)


def _value_and_gradients(function: object, *inputs: Tensor) -> list[np.ndarray]:
    assert callable(function)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        result = function(*inputs)
        total = tf.reduce_sum(
            result * tf.constant(np.arange(tf.size(result)).reshape(result.shape) % 7, tf.float32)
        )
    return [result.numpy(), *(gradient.numpy() for gradient in tape.gradient(total, inputs))]


@pytest.mark.parametrize("channels", [1, 8])
def test_both_convolutions_agree_in_value_and_gradient(channels: int) -> None:
    images = tf.constant(random.normal(size=(3, 12, 14, channels)), tf.float32)
    kernel = tf.constant(random.normal(size=(5, 5, channels, 4)), tf.float32)

    for ours, theirs in zip(
        _value_and_gradients(GPU.convolve, images, kernel),
        _value_and_gradients(CPU.convolve, images, kernel),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_both_poolings_agree_to_the_last_bit() -> None:
    images = tf.constant(random.normal(size=(3, 12, 8, 4)), tf.float32)

    for ours, theirs in zip(
        _value_and_gradients(GPU.pool, images), _value_and_gradients(CPU.pool, images), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_both_poolings_give_the_gradient_to_the_same_of_equal_values() -> None:
    images = tf.constant(random.integers(0, 2, size=(40, 8, 8, 3)), tf.float32)

    for ours, theirs in zip(
        _value_and_gradients(GPU.pool, images), _value_and_gradients(CPU.pool, images), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_machine_without_a_gpu_uses_tensorflows_own_operations_and_no_xla() -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU here")

    assert backend.configure(deterministic=True) is CPU
    assert not CPU.jit_compile
    assert backend.device_name() == "CPU"
    assert backend.gpu_versions() == {}


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nand much more"),
        tf.errors.InternalError(None, None, "RESOURCE_EXHAUSTED: OOM when allocating"),
    ],
    ids=["tensorflow", "xla"],
)
def test_an_out_of_memory_error_is_translated_and_says_what_helps(error: tf.errors.OpError) -> None:
    message = r"ran out of memory; a smaller batch_size needs less: .*OOM when allocating"

    with pytest.raises(DeviceOutOfMemory, match=message) as raised, backend.translate_out_of_memory():
        raise error

    assert raised.value.retryable
    assert "\n" not in str(raised.value)


def test_any_other_error_of_tensorflow_is_not_translated() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError), backend.translate_out_of_memory():
        tf.reshape(tf.zeros([3]), [2])
