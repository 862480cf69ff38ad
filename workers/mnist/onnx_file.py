"""The ONNX file of a trained model, from which the API serves the model. Does not need TensorFlow."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.formats.weights import CLASSES, IMAGE_SHAPE, Weights, split
from shared.schemas import ModelKind

# versions that are old enough for the ONNX runtimes of recent years
OPSET = 17
IR_VERSION = 8
INPUT = "images"
OUTPUT = "probabilities"


def to_onnx(kind: ModelKind, weights: Weights) -> bytes:
    """Return the model as an ONNX file.

    Its input is `images` (n, 28, 28, 1) from 0 to 1, its output `probabilities` (n, 10).
    """
    arrays = split(kind, weights)
    nodes, constants = _cnn(arrays) if kind is ModelKind.CNN else _dense(arrays)
    graph = helper.make_graph(
        nodes,
        kind.value,
        inputs=[helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", *IMAGE_SHAPE])],
        outputs=[helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", CLASSES])],
        initializer=[numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="trainshed")
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


Graph = tuple[list[onnx.NodeProto], dict[str, npt.NDArray[Any]]]


def _cnn(arrays: list[Weights]) -> Graph:
    # ONNX has channels first, Keras last: kernels are transposed, and features transposed back before Flatten
    node = helper.make_node
    kernel_1, bias_1, kernel_2, bias_2, kernel_3, bias_3 = arrays
    nodes = [
        node("Reshape", [INPUT, "channels_first"], ["input"]),  # one channel: no values move
        node("Conv", ["input", "kernel_1", "bias_1"], ["convolved_1"]),
        node("Relu", ["convolved_1"], ["active_1"]),
        node("MaxPool", ["active_1"], ["pooled_1"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["pooled_1", "kernel_2", "bias_2"], ["convolved_2"]),
        node("Relu", ["convolved_2"], ["active_2"]),
        node("MaxPool", ["active_2"], ["pooled_2"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Transpose", ["pooled_2"], ["channels_last"], perm=[0, 2, 3, 1]),
        node("Flatten", ["channels_last"], ["features"]),
        node("Gemm", ["features", "kernel_3", "bias_3"], ["scores"]),
        node("Softmax", ["scores"], [OUTPUT], axis=-1),
    ]
    return nodes, {
        "channels_first": np.array([-1, 1, 28, 28], np.int64),
        "kernel_1": np.ascontiguousarray(kernel_1.transpose(3, 2, 0, 1)),
        "bias_1": bias_1,
        "kernel_2": np.ascontiguousarray(kernel_2.transpose(3, 2, 0, 1)),
        "bias_2": bias_2,
        "kernel_3": kernel_3,
        "bias_3": bias_3,
    }


def _dense(arrays: list[Weights]) -> Graph:
    node = helper.make_node
    nodes = [
        node("Flatten", [INPUT], ["pixels"]),
        node("Gemm", ["pixels", "kernel_1", "bias_1"], ["hidden"]),
        node("Relu", ["hidden"], ["active"]),
        node("Gemm", ["active", "kernel_2", "bias_2"], ["scores"]),
        node("Softmax", ["scores"], [OUTPUT], axis=-1),
    ]
    return nodes, dict(zip(("kernel_1", "bias_1", "kernel_2", "bias_2"), arrays, strict=True))
