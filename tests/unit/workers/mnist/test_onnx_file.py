from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from shared.formats.weights import Weights
from shared.schemas import ModelKind
from tests.support.synthetic import make_digits
from workers.mnist.backend import CPU
from workers.mnist.export import to_keras
from workers.mnist.model import initial_weights
from workers.mnist.onnx_file import to_onnx
from workers.mnist.programs import Programs


def _weights(kind: ModelKind) -> Weights:
    """Return weights like trained ones: biases not zero, scores far apart."""
    random = np.random.default_rng(1)
    weights = initial_weights(kind, 1) * 3
    return weights + random.normal(size=weights.shape).astype(np.float32) * np.float32(0.05)


def _images(count: int) -> npt.NDArray[np.float32]:
    return np.divide(make_digits(count)[0], 255, dtype=np.float32).reshape(-1, 28, 28, 1)


def _run_onnx(file: bytes, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"images": images})
    return np.asarray(probabilities)


@pytest.mark.parametrize("kind", ModelKind)
@pytest.mark.parametrize("count", [1, 64])
def test_the_onnx_file_predicts_what_keras_predicts_for_any_number_of_images(
    kind: ModelKind, count: int, tmp_path: Path
) -> None:
    weights, images = _weights(kind), _images(count)
    path = tmp_path / "model.keras"
    path.write_bytes(to_keras(kind, weights))

    ours = _run_onnx(to_onnx(kind, weights), images)

    theirs = keras.saving.load_model(path, safe_mode=True)(images)
    assert ours.shape == (count, 10)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_onnx_file_predicts_what_the_prediction_program_predicts() -> None:
    weights, (images, labels) = _weights(ModelKind.CNN), make_digits(30)

    ours, _ = Programs(CPU).prediction(ModelKind.CNN).run(weights, images, labels, lambda: None)

    np.testing.assert_allclose(ours, _run_onnx(to_onnx(ModelKind.CNN, weights), _images(30)), atol=1e-5)


@pytest.mark.parametrize("kind", ModelKind)
def test_the_onnx_file_declares_its_input_and_output(kind: ModelKind) -> None:
    model = onnx.load_from_string(to_onnx(kind, _weights(kind)))

    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"images": ["n", 28, 28, 1], "probabilities": ["n", 10]}
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)


def test_equal_weights_give_equal_onnx_files() -> None:
    assert to_onnx(ModelKind.CNN, _weights(ModelKind.CNN)) == to_onnx(ModelKind.CNN, _weights(ModelKind.CNN))
