"""Files of a trained model: `.keras` for Keras users, ONNX for serving."""

import json
import time
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.errors import AttemptError
from shared.schemas import ModelKind
from workers.mnist.model import CLASSES, IMAGE_SHAPE, Weights, keras_model, parameter_count, split

# old enough for the ONNX runtimes of recent years
OPSET = 17
IR_VERSION = 8
INPUT = "images"
OUTPUT = "probabilities"


_WEIGHTS_MEMBER = "model.weights.h5"
_METADATA_MEMBER = "metadata.json"


class _KerasTemplate(NamedTuple):
    """The members of a `.keras` file as Keras writes it, and where each array of weights begins."""

    members: dict[str, bytes]
    places: tuple[int, ...]


def to_keras(kind: ModelKind, weights: Weights) -> bytes:
    """Return the model as a `.keras` file: what Keras writes in 25 ms, made once, with these weights."""
    template = _keras_template(kind)
    arrays = bytearray(template.members[_WEIGHTS_MEMBER])
    for place, array in zip(template.places, split(kind, weights), strict=True):
        arrays[place : place + array.nbytes] = array.astype("<f4").tobytes()
    metadata = json.loads(template.members[_METADATA_MEMBER])
    metadata["date_saved"] = time.strftime("%Y-%m-%d@%H:%M:%S")
    changed = {_WEIGHTS_MEMBER: bytes(arrays), _METADATA_MEMBER: json.dumps(metadata).encode()}
    file = BytesIO()
    with ZipFile(file, "w") as archive:
        for name, content in template.members.items():
            archive.writestr(name, changed.get(name, content))
    return file.getvalue()


@cache
def _keras_template(kind: ModelKind) -> _KerasTemplate:
    # each weight is its own number, so that every array can be found in the file
    numbered = split(kind, np.arange(1, parameter_count(kind) + 1, dtype="<f4"))
    model = keras_model(kind)
    model.set_weights(numbered)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        with ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    places = tuple(members[_WEIGHTS_MEMBER].index(array.tobytes()) for array in numbered)
    return _KerasTemplate(members, places)


def from_keras(kind: ModelKind, file: bytes) -> Weights:
    """Return the weights in a `.keras` file of this architecture.

    Only arrays are read from the file, not its model configuration, so a forged file can do no harm.

    Raises:
        AttemptError: the file is damaged, or holds another architecture.
    """
    model = keras_model(kind)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(file)
        try:
            with ZipFile(path) as archive:
                # Keras does not read the whole file, and may not notice a wrong checksum
                if damaged := archive.testzip():
                    raise BadZipFile(f"{damaged} has a wrong checksum")
            model.load_weights(path)
        except (OSError, ValueError, KeyError, RuntimeError, BadZipFile) as error:
            reason = str(error).partition("\n")[0]
            raise AttemptError(f"the stored model is damaged or not a {kind} model: {reason}") from error
    return np.concatenate([array.ravel() for array in model.get_weights()])


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
