"""Predictions over HTTP by a model of the real MNIST equal those of Keras, also for redrawn digits."""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import keras
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from api.app import create_app
from shared.datasets import catalog
from shared.formats.results import KERAS_FILE
from shared.schemas import TrainSpec
from shared.settings import Settings
from tests.support import factories, queue_driver, tfjs
from tests.support.databases import migrate, open_database
from tests.support.servers import running_app
from tests.support.synthetic import RecordingMonitor
from workers.mnist.executor import MnistExecutor

Images = npt.NDArray[np.uint8]

_COUNT = 1_000


@dataclass(frozen=True)
class Trained:
    """A model of the real digits, and test images that it has not seen.

    Attributes:
        client: of an API that has the model as `champion`.
        keras: the model's file.
        images: (1000, 28, 28).
        labels: (1000,).
    """

    client: httpx.Client
    keras: Path
    images: Images
    labels: Images


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, real_mnist: dict[str, str]) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("predict")
    settings = Settings(data_dir=folder, redis_url=f"unix://{folder / 'redis.sock'}")
    settings = settings.model_copy(update=real_mnist)
    spec = TrainSpec(train_size=5_500, validation_size=100, evaluation_size=100, epochs=10, seed=1)
    model = MnistExecutor(settings).train(spec, None, RecordingMonitor())
    stored = factories.make_model(
        spec=spec,
        weights_sha256=model.weights_sha256,
        files={artifact.name: artifact.content for artifact in model.artifacts},
    )
    with open_database(migrate(settings.effective_database_url)) as database:
        queue_driver.succeed(database, queue_driver.running(database, spec=spec), stored)
    (folder / "model.keras").write_bytes(model.content(KERAS_FILE))
    data = catalog.load("mnist", settings)
    with running_app(create_app(settings)) as client:
        client.patch(f"/v1/models/{stored.id}", json={"alias": "champion"}).raise_for_status()
        yield Trained(
            client,
            folder / "model.keras",
            data.test_images[-_COUNT:].reshape(-1, 28, 28),
            data.test_labels[-_COUNT:],
        )


def _predict(client: httpx.Client, images: Sequence[object]) -> list[dict[str, Any]]:
    responses = [
        client.post("/v1/models/champion/predict", json={"images": images[start : start + 64]}).json()
        for start in range(0, len(images), 64)
    ]
    return [prediction for response in responses for prediction in response["data"]]


def _accuracy(predictions: list[dict[str, Any]], labels: Images) -> float:
    predicted = [prediction["prediction"] for prediction in predictions]
    return float(np.mean(np.equal(predicted, labels)))


def _redrawn(image: Images) -> str:
    """The digit in black on white and ten times as large, as drawn on a canvas; a PNG in base64."""
    canvas = Image.fromarray(image).resize((280, 280), Image.Resampling.BICUBIC)
    return _base64(ImageOps.invert(canvas))


def _base64(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return b64encode(file.getvalue()).decode()


def test_predictions_are_those_of_keras(trained: Trained) -> None:
    images = np.divide(trained.images[:64], 255, dtype=np.float32)

    predictions = _predict(trained.client, images.tolist())

    expected = keras.saving.load_model(trained.keras, safe_mode=True)(images[..., None])
    probabilities = [prediction["probabilities"] for prediction in predictions]
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_the_weights_for_tensorflow_js_are_those_of_keras(trained: Trained) -> None:
    weights = trained.client.get("/v1/models/champion/tfjs/weights.bin").content

    theirs = keras.saving.load_model(trained.keras, safe_mode=True).get_weights()
    assert weights == b"".join(array.astype("<f4").tobytes() for array in theirs)


@pytest.mark.timeout(400)  # the first time, npm downloads 300 MB
def test_tensorflow_js_predicts_what_keras_predicts(trained: Trained, tensorflow_js: Path) -> None:
    images = np.divide(trained.images[:100], 255, dtype=np.float32)
    url = f"{trained.client.base_url}/v1/models/champion/tfjs/model.json"

    loaded = tfjs.predict(tensorflow_js, url, images.reshape(100, 784))

    expected = keras.saving.load_model(trained.keras, safe_mode=True)(images[..., None])
    np.testing.assert_allclose(loaded["outputs"], expected, atol=1e-5)


def test_digits_redrawn_black_on_white_are_predicted_as_well_as_the_originals(trained: Trained) -> None:
    originals = np.divide(trained.images, 255, dtype=np.float32).tolist()
    redrawn = [_redrawn(image) for image in trained.images]

    accuracy = _accuracy(_predict(trained.client, originals), trained.labels)
    redrawn_accuracy = _accuracy(_predict(trained.client, redrawn), trained.labels)

    assert accuracy > 0.9
    assert redrawn_accuracy >= accuracy - 0.01


def test_the_returned_input_resembles_the_original_digit(trained: Trained) -> None:
    [prediction] = _predict(trained.client, [_redrawn(trained.images[0])])

    png = b64decode(str(prediction["input"]).removeprefix("data:image/png;base64,"))
    returned = np.asarray(Image.open(BytesIO(png))).astype(int)
    assert np.abs(returned - trained.images[0].astype(int)).mean() < 12
