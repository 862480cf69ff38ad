"""The reader of ONNX files, compared with the `onnx` package that writes them."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from api.prediction.onnx_weights import read_weights
from shared.formats.weights import to_bytes
from shared.schemas import ModelKind
from tests.support.onnx_models import make_counting_onnx, make_weights
from workers.mnist.onnx_file import to_onnx


@pytest.mark.parametrize("kind", ModelKind)
def test_weights_are_read_bit_for_bit(kind: ModelKind) -> None:
    weights = make_weights(kind)

    assert to_bytes(read_weights(kind, to_onnx(kind, weights))) == to_bytes(weights)


def test_a_file_as_another_writer_encodes_it_is_read() -> None:
    model = onnx.load_from_string(to_onnx(ModelKind.DENSE, make_weights(ModelKind.DENSE)))
    # fields that ours does not write: a text for people, an array of other numbers, external data
    model.doc_string = "a model"
    model.graph.initializer.insert(0, numpy_helper.from_array(np.arange(3), "others"))
    model.graph.initializer.append(helper.make_tensor("listed", TensorProto.FLOAT, [2], [1.0, 2.0]))
    model.metadata_props.add(key="a", value="b")

    weights = read_weights(ModelKind.DENSE, model.SerializeToString())

    assert to_bytes(weights) == to_bytes(make_weights(ModelKind.DENSE))


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"a file of something else",
        b"\xff" * 100,
        make_counting_onnx(),
        to_onnx(ModelKind.DENSE, make_weights(ModelKind.DENSE)),
        to_onnx(ModelKind.CNN, make_weights(ModelKind.CNN))[:-1_000],
    ],
    ids=["empty", "text", "endless number", "other names", "other architecture", "short"],
)
def test_a_file_that_is_damaged_or_of_another_model_is_refused(file: bytes) -> None:
    with pytest.raises(ValueError, match="the ONNX file"):
        read_weights(ModelKind.CNN, file)


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 30_000), byte=st.integers(0, 255), cut=st.integers(0, 30_000))
def test_a_damaged_file_is_refused_or_read_and_never_another_error(place: int, byte: int, cut: int) -> None:
    file = bytearray(to_onnx(ModelKind.CNN, make_weights(ModelKind.CNN)))
    file[place % len(file)] = byte

    try:
        weights = read_weights(ModelKind.CNN, bytes(file[cut % 100 :]))
    except ValueError:
        return
    assert weights.shape == (5_994,)
