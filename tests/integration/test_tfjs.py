"""TensorFlow.js, from npm and in Node, loads models from the API, and predicts what ONNX Runtime predicts."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnxruntime
import pytest
from pydantic import SecretStr

from api.app import create_app
from shared.datasets import catalog
from shared.db.engine import Database
from shared.formats.results import ONNX_FILE
from shared.schemas import ModelKind
from shared.settings import Settings
from tests.support import factories, queue_driver, tfjs
from tests.support.onnx_models import make_readable_model
from tests.support.servers import running_app

KEY = "the-key-of-a-page"

# the first time, npm downloads 300 MB
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def api(settings: Settings, sqlite_url: str) -> Iterator[httpx.Client]:
    """An API that needs a key, as one that other hosts can reach does. One kind of database is enough."""
    keyed = settings.model_copy(update={"database_url": sqlite_url, "api_keys": (SecretStr(KEY),)})
    with running_app(create_app(keyed)) as client:
        yield client


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """That API's database."""
    return sqlite_url


@pytest.mark.parametrize("kind", ModelKind)
def test_tensorflow_js_loads_a_model_and_predicts_what_onnx_runtime_predicts(
    tensorflow_js: Path, api: httpx.Client, database: Database, settings: Settings, kind: ModelKind
) -> None:
    spec = factories.make_spec(dataset="digits", model=kind)
    model = make_readable_model(spec)
    queue_driver.succeed(database, queue_driver.running(database, spec=spec), model)
    images = np.divide(catalog.load("digits", settings).test_images[:100], 255, dtype=np.float32)

    loaded = tfjs.predict(
        tensorflow_js, f"{api.base_url}/v1/models/{model.id}/tfjs/model.json", images, key=KEY
    )

    session = onnxruntime.InferenceSession(model.files[ONNX_FILE], providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"images": images.reshape(-1, 28, 28, 1)})
    np.testing.assert_allclose(loaded["outputs"], expected, atol=1e-5)
    assert expected.std(axis=0).max() > 0.1, "the images should not all look alike to the model"


def test_tensorflow_js_has_the_codelabs_layers(
    tensorflow_js: Path, api: httpx.Client, database: Database
) -> None:
    model = make_readable_model(factories.make_spec())
    queue_driver.succeed(database, queue_driver.running(database), model)
    api.patch(
        f"/v1/models/{model.id}",
        json={"alias": "champion"},
        headers={"Authorization": f"Bearer {KEY}"},
    ).raise_for_status()

    url = f"{api.base_url}/v1/models/champion/tfjs/model.json"
    loaded = tfjs.predict(tensorflow_js, url, np.zeros((1, 784), np.float32), key=KEY)

    assert loaded["layers"] == [
        ["InputLayer", "images", 0],
        ["Conv2D", "conv1", 208],
        ["MaxPooling2D", "pool1", 0],
        ["Conv2D", "conv2", 3_216],
        ["MaxPooling2D", "pool2", 0],
        ["Flatten", "flatten", 0],
        ["Dense", "probabilities", 2_570],
    ]
