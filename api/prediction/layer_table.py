"""The layers of each architecture with their shapes and numbers of weights, as Keras summarizes them.

A model's row has its own summary; this one is for jobs that have no model yet.
"""

from math import prod

from shared.formats.weights import ARRAYS, CLASSES, PIXELS
from shared.schemas import LayerSummary, ModelKind

_LAYERS: dict[ModelKind, tuple[tuple[str, str, tuple[int, ...]], ...]] = {
    ModelKind.CNN: (
        ("conv1", "Conv2D", (24, 24, 8)),
        ("pool1", "MaxPooling2D", (12, 12, 8)),
        ("conv2", "Conv2D", (8, 8, 16)),
        ("pool2", "MaxPooling2D", (4, 4, 16)),
        ("flatten", "Flatten", (256,)),
        ("probabilities", "Dense", (CLASSES,)),
    ),
    ModelKind.DENSE: (
        ("flatten", "Flatten", (PIXELS,)),
        ("hidden", "Dense", (42,)),
        ("probabilities", "Dense", (CLASSES,)),
    ),
}


def layer_table(kind: ModelKind) -> tuple[LayerSummary, ...]:
    """Return a summary of each layer of an architecture, in order."""
    return tuple(
        LayerSummary(
            name=name, type=type_, output_shape=shape, parameters=_parameters(kind, name), trainable=True
        )
        for name, type_, shape in _LAYERS[kind]
    )


def _parameters(kind: ModelKind, layer: str) -> int:
    return sum(prod(array.shape) for array in ARRAYS[kind] if array.name.startswith(f"{layer}/"))
