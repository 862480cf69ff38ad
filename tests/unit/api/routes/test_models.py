from hashlib import sha256

import httpx
import pytest

from shared.db import Database
from tests import factories

UNKNOWN = "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"


def test_a_model_tells_its_layers_and_where_it_comes_from(client: httpx.Client, database: Database) -> None:
    job_id, model = factories.succeeded(database)

    told = client.get(f"/v1/models/{model.id}").json()

    assert (told["id"], told["job_id"], told["dataset"], told["kind"]) == (
        str(model.id),
        str(job_id),
        "mnist",
        "cnn",
    )
    assert told["parameters"] == 7_850
    assert [layer["name"] for layer in told["layers"]] == ["flatten", "dense"]
    assert told["accuracy"] == model.evaluation.accuracy


@pytest.mark.parametrize(
    ("asked", "format_"), [({}, "keras"), ({"format": "keras"}, "keras"), ({"format": "onnx"}, "onnx")]
)
def test_a_model_is_downloaded_as_a_file(
    client: httpx.Client, database: Database, asked: dict[str, str], format_: str
) -> None:
    _, model = factories.succeeded(database)
    content = next(content for name, content in model.files.items() if name == format_)

    answer = client.get(f"/v1/models/{model.id}/download", params=asked)

    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="model-{model.id}.{format_}"'
    assert answer.headers["ETag"] == f'"{sha256(content).hexdigest()}"'


def test_a_file_that_the_client_has_is_not_sent_again(client: httpx.Client, database: Database) -> None:
    _, model = factories.succeeded(database)
    path = f"/v1/models/{model.id}/download"

    answer = client.get(path, headers={"If-None-Match": client.get(path).headers["ETag"]})

    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize("path", ["", "/download", "/download?format=onnx"])
def test_an_unknown_model_is_not_found(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/v1/models/{UNKNOWN}{path}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/model-not-found"


def test_a_malformed_model_id_is_a_problem(client: httpx.Client) -> None:
    assert client.get("/v1/models/best").json()["errors"][0]["parameter"] == "model_id"


def test_a_format_that_is_not_kept_is_refused(client: httpx.Client, database: Database) -> None:
    _, model = factories.succeeded(database)

    answer = client.get(f"/v1/models/{model.id}/download", params={"format": "h5"})

    assert answer.status_code == 422
    assert "'keras' or 'onnx'" in answer.json()["detail"]
