"""Predictions: images of digits, as clients send them, are classified by a stored model."""

import binascii
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from api.prediction import mnist_images
from api.prediction.onnx_models import OnnxModels
from shared.db.engine import Database
from shared.errors import UnreadableImage
from shared.formats.results import ONNX_FILE
from shared.schemas import (
    EncodedImage,
    ModelReference,
    NoDigitReason,
    PixelRows,
    Prediction,
    Predictions,
    TrainSpec,
)
from shared.store import artifacts, models

ImageInput = PixelRows | EncodedImage | bytes
"""An image that a client sends: pixels in MNIST's form, a file in base64, or a file."""


@dataclass(frozen=True)
class Inputs:
    """The images of a request, as the input of a model.

    Attributes:
        pixels: shape (n, 28, 28), from 0 to 1; a blank image is 0 everywhere.
        seconds: the time that their decoding took.
    """

    pixels: NDArray[np.float32]
    seconds: float


def to_inputs(images: Sequence[ImageInput]) -> Inputs:
    """Decode the images of a request.

    Raises:
        UnreadableImage: a file is damaged, or is not an image.
        ImageTooLarge: the images have too many pixels.
    """
    started = perf_counter()
    inputs: list[NDArray[np.float32]] = []
    pixels_left = mnist_images.MAX_PIXELS
    for image in images:
        if isinstance(image, tuple):
            inputs.append(np.array(image, np.float32))
            continue
        decoded = mnist_images.decode(image if isinstance(image, bytes) else _from_base64(image), pixels_left)
        pixels_left -= decoded.pixels
        inputs.append(np.divide(mnist_images.convert(decoded.image), 255, dtype=np.float32))
    return Inputs(np.stack(inputs), perf_counter() - started)


def predict(
    database: Database,
    loaded_models: OnnxModels,
    reference: ModelReference,
    inputs: Inputs,
    threshold: float | None,
) -> Predictions:
    """Classify images.

    Args:
        reference: the model's id or alias.
        threshold: predictions with a lower probability count as "no digit found"; None for the threshold
            of the model's training.

    Raises:
        ModelNotFound: there is no such model.
        ModelNotRunnable: the API cannot run the model.
    """
    model_id, own = database.read(partial(_model, reference=reference))
    started = perf_counter()
    load = partial(_onnx, database, model_id)
    probabilities = loaded_models.probabilities(model_id, load, inputs.pixels[..., np.newaxis])
    threshold = own if threshold is None else threshold
    predictions = tuple(map(partial(_prediction, threshold=threshold), probabilities, inputs.pixels))
    ms = (inputs.seconds + perf_counter() - started) * 1_000
    return Predictions(model_id=model_id, threshold=threshold, ms=round(ms, 3), data=predictions)


def _model(session: Session, reference: ModelReference) -> tuple[UUID, float | None]:
    """Return a model's id, and the threshold of its training."""
    model, _ = models.runnable(session, reference)
    return model.id, TrainSpec.model_validate(model.spec).threshold


def _onnx(database: Database, model_id: UUID) -> bytes:
    return database.read(lambda session: artifacts.content(session, model_id, ONNX_FILE))


def _prediction(
    probabilities: NDArray[np.float32], pixels: NDArray[np.float32], *, threshold: float | None
) -> Prediction:
    best = int(probabilities.argmax())
    reason = None
    if not pixels.any():
        reason = NoDigitReason.BLANK
    elif threshold is not None and probabilities[best] < threshold:
        reason = NoDigitReason.BELOW_THRESHOLD
    return Prediction(
        prediction=best if reason is None else None,
        reason=reason,
        probabilities=tuple(probabilities.tolist()),
        input=mnist_images.data_url((pixels * 255).round().astype(np.uint8)),
    )


def _from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableImage("an image in JSON must be a PNG or JPEG file in base64") from error
