"""ONNX models small enough to compute by hand, and a drawing as their input."""

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper


def make_onnx(weights: npt.NDArray[np.float32]) -> bytes:
    """An ONNX file that computes the softmax of the pixels times `weights`, (784, 10)."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["pixels"]),
            helper.make_node("MatMul", ["pixels", "weights"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1),
        ],
        "linear",
        inputs=[helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 28, 28, 1])],
        outputs=[helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])],
        initializer=[numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def make_counting_onnx() -> bytes:
    """A model whose probability of class 3 grows with the sum of the pixels; the others are equal."""
    weights = np.zeros((784, 10), np.float32)
    weights[:, 3] = 0.1
    return make_onnx(weights)


def make_drawing(side: int = 280, *, ink: int = 0, paper: int = 255) -> npt.NDArray[np.uint8]:
    """A greyscale drawing, (side, side), of a thick vertical stroke off the centre."""
    drawing = np.full((side, side), paper, np.uint8)
    drawing[side // 8 : side * 5 // 8, side // 8 : side // 4] = ink
    return drawing
