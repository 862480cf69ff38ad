"""Validation of the images of prediction requests."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.schemas import PredictRequest


def test_a_request_may_contain_both_pixels_and_files() -> None:
    request = PredictRequest.model_validate({"images": [[[0, 1] * 14] * 28, "iVBORw0KGgo="]})

    assert request.images[0][0] == (0.0, 1.0) * 14
    assert request.images[1] == "iVBORw0KGgo="


@pytest.mark.parametrize(
    "images",
    [
        [],
        [""],
        [[]],
        [[[0] * 28] * 29],
        [[[0] * 29] * 28],
        [[[2] * 28] * 28],
        [[[float("nan")] * 28] * 28],
        ["a"] * 65,
    ],
)
def test_invalid_images_are_refused(images: Any) -> None:
    with pytest.raises(ValidationError):
        PredictRequest.model_validate({"images": images})
