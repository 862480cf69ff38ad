"""Descriptions of models for TensorFlow.js, which `tests/integration/test_tfjs.py` has it read."""

import json

import pytest

from api.prediction.tfjs_models import model_json
from shared.formats.weights import ARRAYS
from shared.schemas import ModelKind


@pytest.mark.parametrize("kind", ModelKind)
def test_every_array_belongs_to_a_layer(kind: ModelKind) -> None:
    content = model_json(kind, "weights.bin")

    layers = [layer["config"]["name"] for layer in content["modelTopology"]["config"]["layers"]]
    assert [array.name.partition("/")[0] in layers for array in ARRAYS[kind]] == [True] * len(ARRAYS[kind])


def test_the_weights_are_listed_in_the_order_of_their_bytes() -> None:
    [group] = model_json(ModelKind.CNN, "there/weights.bin")["weightsManifest"]

    assert group["paths"] == ["there/weights.bin"]
    assert group["weights"][:2] == [
        {"name": "conv1/kernel", "shape": [5, 5, 1, 8], "dtype": "float32"},
        {"name": "conv1/bias", "shape": [8], "dtype": "float32"},
    ]


@pytest.mark.parametrize("kind", ModelKind)
def test_a_description_is_small(kind: ModelKind) -> None:
    assert len(json.dumps(model_json(kind, "weights.bin"))) < 5_000
