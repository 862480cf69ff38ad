"""ONNX models: some small enough to compute by hand, and models of the product's own architectures."""

from hashlib import sha256
from math import prod, sqrt

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from api.prediction.layer_table import layer_table
from shared.formats.results import KERAS_FILE, ONNX_FILE
from shared.formats.weights import SHAPES, Weights, to_bytes
from shared.schemas import ModelKind, TrainSpec
from tests.support import factories
from tests.support.factories import NewModel
from workers.mnist.onnx_file import to_onnx


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


def make_weights(kind: ModelKind, seed: int = 0) -> Weights:
    """Weights like trained ones, without training: biases not zero, scores of digits far apart."""
    random = np.random.default_rng(seed)
    scales = ((0.1 if len(shape) == 1 else 3 / sqrt(prod(shape[:-1]))) for shape in SHAPES[kind])
    parts = [random.normal(size=shape) * scale for shape, scale in zip(SHAPES[kind], scales, strict=True)]
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def make_readable_model(spec: TrainSpec, seed: int = 0) -> NewModel:
    """A model that is not stored yet, whose ONNX file has weights of its architecture."""
    weights = make_weights(spec.model, seed)
    return factories.make_model(
        spec=spec,
        kind=spec.model,
        layers=layer_table(spec.model),
        weights_sha256=sha256(to_bytes(weights)).hexdigest(),
        files={KERAS_FILE: b"a .keras file", ONNX_FILE: to_onnx(spec.model, weights)},
    )
