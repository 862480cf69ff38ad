"""Weights that a job has kept after its epochs."""

from pydantic import Field

from shared.schemas.base import Response
from shared.schemas.specs import ModelKind


class KeptArray(Response):
    """An array of weights: float32, little-endian, row by row.

    Attributes:
        name: of the layer and its variable, such as `conv1/kernel`.
        offset: of its first byte.
    """

    name: str
    shape: tuple[int, ...]
    offset: int


class KeptWeights(Response):
    """The epochs whose weights a job has kept, and what their bytes are.

    Attributes:
        model: None for an evaluation job.
        size: the bytes of an epoch's weights.
    """

    keep_weights: bool = Field(description="Whether the job keeps them; if not, `epochs` is empty.")
    model: ModelKind | None
    size: int
    arrays: tuple[KeptArray, ...]
    epochs: tuple[int, ...] = Field(description="From 0, in order.")
