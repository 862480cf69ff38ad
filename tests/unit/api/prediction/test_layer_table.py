"""The layers of each architecture, known without Keras."""

import pytest

from api.prediction.layer_table import layer_table
from shared.formats.weights import parameter_count
from shared.schemas import ModelKind


def test_the_codelabs_model_has_5994_parameters() -> None:
    assert sum(layer.parameters for layer in layer_table(ModelKind.CNN)) == 5_994


@pytest.mark.parametrize("kind", ModelKind)
def test_every_weight_belongs_to_a_layer(kind: ModelKind) -> None:
    assert sum(layer.parameters for layer in layer_table(kind)) == parameter_count(kind)
