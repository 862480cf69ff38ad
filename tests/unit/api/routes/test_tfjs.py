"""Models for TensorFlow.js over HTTP."""

from collections.abc import Iterator
from hashlib import sha256

import httpx
import numpy as np
import pytest

from api.app import create_app
from shared.db.engine import Database
from shared.formats.weights import to_bytes
from shared.schemas import ModelKind
from shared.settings import Settings
from tests.support import factories, queue_driver
from tests.support.factories import NewModel
from tests.support.onnx_models import make_readable_model, make_weights
from tests.support.servers import running_app

CODELAB = "https://codelab.example"


def _stored(database: Database, kind: ModelKind = ModelKind.CNN, seed: int = 0) -> NewModel:
    model = make_readable_model(factories.make_spec(model=kind), seed)
    queue_driver.succeed(database, queue_driver.running(database), model)
    return model


@pytest.mark.parametrize("kind", ModelKind)
def test_the_weights_lie_beside_the_description(
    client: httpx.Client, database: Database, kind: ModelKind
) -> None:
    model = _stored(database, kind)
    answer = client.get(f"/v1/models/{model.id}/tfjs/model.json")

    [group] = answer.json()["weightsManifest"]
    weights = client.get(answer.url.join(group["paths"][0]))

    assert answer.headers["Content-Type"] == "application/json"
    assert weights.headers["Content-Type"] == "application/octet-stream"
    assert weights.content == to_bytes(make_weights(kind))
    assert len(weights.content) == 4 * sum(int(np.prod(array["shape"])) for array in group["weights"])


def test_the_tag_of_the_weights_is_their_digest(client: httpx.Client, database: Database) -> None:
    model = _stored(database)

    answer = client.get(f"/v1/models/{model.id}/tfjs/weights.bin")

    assert answer.headers["ETag"] == f'"{sha256(answer.content).hexdigest()}"' == f'"{model.weights_sha256}"'


@pytest.mark.parametrize("file", ["model.json", "weights.bin"])
def test_an_unchanged_file_is_not_sent_again(client: httpx.Client, database: Database, file: str) -> None:
    path = f"/v1/models/{_stored(database).id}/tfjs/{file}"
    tag = client.get(path).headers["ETag"]

    answer = client.get(path, headers={"If-None-Match": tag})

    assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)


def test_only_weights_by_id_may_be_kept_without_asking_again(
    client: httpx.Client, database: Database
) -> None:
    model = _stored(database)
    client.patch(f"/v1/models/{model.id}", json={"alias": "champion"})

    def caching(reference: object, file: str) -> str:
        return client.get(f"/v1/models/{reference}/tfjs/{file}").headers["Cache-Control"]

    assert caching(model.id, "weights.bin") == "private, max-age=31536000, immutable"
    assert {
        caching("champion", "weights.bin"),
        caching(model.id, "model.json"),
        caching("champion", "model.json"),
    } == {"private, no-cache"}


def test_an_alias_that_moves_does_not_mix_two_models(client: httpx.Client, database: Database) -> None:
    first, second = (_stored(database, seed=seed) for seed in (1, 2))
    client.patch(f"/v1/models/{first.id}", json={"alias": "champion"})
    answer = client.get("/v1/models/champion/tfjs/model.json")
    client.patch(f"/v1/models/{second.id}", json={"alias": "champion"})

    weights = client.get(answer.url.join(answer.json()["weightsManifest"][0]["paths"][0]))

    assert weights.headers["ETag"] == f'"{first.weights_sha256}"'
    assert client.get("/v1/models/champion/tfjs/weights.bin").content == to_bytes(
        make_weights(ModelKind.CNN, 2)
    )


@pytest.mark.parametrize("file", ["model.json", "weights.bin"])
def test_files_of_an_unknown_model_are_not_found(client: httpx.Client, file: str) -> None:
    answer = client.get(f"/v1/models/champion/tfjs/{file}")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/model-not-found")


def test_weights_that_are_not_the_models_are_not_sent(client: httpx.Client, database: Database) -> None:
    _, model = queue_driver.succeeded(database)  # whose files are placeholders

    assert client.get(f"/v1/models/{model.id}/tfjs/weights.bin").status_code == 500


@pytest.fixture
def allowing(settings: Settings, database_url: str) -> Iterator[httpx.Client]:
    """A client of an API that lets the pages of one other site use it."""
    allowing = settings.model_copy(update={"database_url": database_url, "cors_origins": (CODELAB,)})
    with running_app(create_app(allowing)) as client:
        yield client


@pytest.mark.parametrize("file", ["model.json", "weights.bin"])
def test_a_page_of_another_site_reads_a_model_only_if_its_origin_is_allowed(
    client: httpx.Client, allowing: httpx.Client, database: Database, file: str
) -> None:
    path = f"/v1/models/{_stored(database).id}/tfjs/{file}"

    def allowed(api: httpx.Client, origin: str) -> str | None:
        answer = api.get(path, headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"})
        assert "Origin" in answer.headers["Vary"]
        value: str | None = answer.headers.get("Access-Control-Allow-Origin")
        return value

    assert allowed(allowing, CODELAB) == CODELAB
    assert allowed(allowing, "https://other.example") is None
    assert allowed(client, CODELAB) is None
