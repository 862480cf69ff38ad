from hashlib import sha256

import httpx
import pytest

from shared.db.engine import Database
from tests.support import factories, queue_driver

UNKNOWN = "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"


def test_model_has_its_layers_and_its_job(client: httpx.Client, database: Database) -> None:
    job_id, model = queue_driver.succeeded(database)

    body = client.get(f"/v1/models/{model.id}").json()

    assert (body["id"], body["job_id"], body["dataset"], body["kind"]) == (
        str(model.id),
        str(job_id),
        "mnist",
        "cnn",
    )
    assert body["parameters"] == 7_850
    assert [layer["name"] for layer in body["layers"]] == ["flatten", "dense"]
    assert body["accuracy"] == model.evaluation.accuracy


@pytest.mark.parametrize(
    ("params", "format_"),
    [
        ({}, "keras"),
        ({"format": "keras"}, "keras"),
        ({"format": "onnx"}, "onnx"),
        ({"name": "model.onnx"}, "onnx"),
    ],
)
def test_a_model_is_downloaded_as_a_file(
    client: httpx.Client, database: Database, params: dict[str, str], format_: str
) -> None:
    _, model = queue_driver.succeeded(database)
    content = model.files[f"model.{format_}"]

    answer = client.get(f"/v1/models/{model.id}/download", params=params)

    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="model-{model.id}.{format_}"'
    assert answer.headers["ETag"] == f'"{sha256(content).hexdigest()}"'


def test_unchanged_file_is_not_sent_again(client: httpx.Client, database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    path = f"/v1/models/{model.id}/download"

    answer = client.get(path, headers={"If-None-Match": client.get(path).headers["ETag"]})

    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize("model", [UNKNOWN, "champion"])
@pytest.mark.parametrize("path", ["", "/download", "/download?format=onnx"])
def test_an_unknown_model_is_not_found(client: httpx.Client, model: str, path: str) -> None:
    answer = client.get(f"/v1/models/{model}{path}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/model-not-found"


@pytest.mark.parametrize("reference", ["Best", "0", "-a", "a%20b", "x" * 65, "b%0A"])
def test_invalid_model_reference_is_a_problem(client: httpx.Client, reference: str) -> None:
    assert client.get(f"/v1/models/{reference}").json()["errors"][0]["parameter"] == "model_id"


@pytest.mark.parametrize("params", [{"format": "h5"}, {"name": "model.h5"}])
def test_a_file_that_a_model_does_not_have_is_a_problem_that_lists_its_files(
    client: httpx.Client, database: Database, params: dict[str, str]
) -> None:
    _, model = queue_driver.succeeded(database)

    answer = client.get(f"/v1/models/{model.id}/download", params=params)

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/artifact-not-found")
    assert "no file model.h5: its files are model.keras, model.onnx" in answer.json()["detail"]


def test_a_model_of_other_code_is_downloaded_and_not_run(client: httpx.Client, database: Database) -> None:
    model = factories.make_model(files={"net.pt": b"a network"}, kind=None, layers=(), weights_sha256=None)
    queue_driver.succeed(database, queue_driver.running(database), model)
    path = f"/v1/models/{model.id}"

    body = client.get(path).json()
    file = client.get(f"{path}/download")
    answers = [
        client.get(f"{path}/tfjs/model.json"),
        client.get(f"{path}/tfjs/weights.bin"),
        client.post(f"{path}/predict", json={"images": [[[0.0] * 28] * 28]}),
    ]

    assert (body["kind"], body["parameters"], body["layers"], body["weights_sha256"]) == (
        None,
        None,
        [],
        None,
    )
    assert [(each["name"], each["role"], each["size"]) for each in body["artifacts"]] == [
        ("net.pt", "model", 9)
    ]
    assert (file.content, file.headers["Content-Disposition"]) == (
        b"a network",
        'attachment; filename="net.pt"',
    )
    for answer in answers:
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/model-not-runnable")
        assert "its files are net.pt" in answer.json()["detail"]
    for page in (f"/models/{model.id}", "/models", f"/jobs/{model.id}?tab=model", "/try"):
        html = client.get(page).text
        assert f"/models/{model.id}/try" not in html
        assert "tfjs" not in html


def test_models_are_listed_page_by_page(client: httpx.Client, database: Database) -> None:
    ids = [str(queue_driver.succeeded(database)[1].id) for _ in range(3)]

    first = client.get("/v1/models", params={"limit": 2}).json()
    second = client.get("/v1/models", params={"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [model["id"] for model in first["data"]] == [ids[2], ids[1]]
    assert [model["id"] for model in second["data"]] == [ids[0]]
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)


def test_model_has_its_specification_and_evaluations(client: httpx.Client, database: Database) -> None:
    job_id, model = queue_driver.succeeded(database)

    body = client.get(f"/v1/models/{model.id}").json()

    assert body["spec"] == factories.make_spec().model_dump(mode="json")
    assert [(evaluation["job_id"], evaluation["accuracy"]) for evaluation in body["evaluations"]] == [
        (str(job_id), model.evaluation.accuracy)
    ]


def test_alias_refers_to_a_model_and_can_be_moved(client: httpx.Client, database: Database) -> None:
    first, second = (queue_driver.succeeded(database)[1] for _ in range(2))
    patched = client.patch(f"/v1/models/{first.id}", json={"alias": "champion", "description": "best"})
    assert (patched.status_code, patched.json()["alias"]) == (200, "champion")

    moved = client.patch(f"/v1/models/{second.id}", json={"alias": "champion"}).json()

    assert (moved["alias"], moved["description"]) == ("champion", None)
    assert client.get("/v1/models/champion").json()["id"] == str(second.id)
    assert (
        client.get("/v1/models/champion/download")
        .headers["Content-Disposition"]
        .endswith(f'"model-{second.id}.keras"')
    )
    left = client.get(f"/v1/models/{first.id}").json()
    assert (left["alias"], left["description"]) == (None, "best")
    assert [model["alias"] for model in client.get("/v1/models").json()["data"]] == ["champion", None]


def test_a_description_alone_is_stored(client: httpx.Client, database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    path = f"/v1/models/{model.id}"

    answers = [client.patch(path, json={"description": text}) for text in ("mine", None)]

    assert [answer.json()["description"] for answer in answers] == ["mine", None]
    client.patch(path, json={"description": "yours"})
    assert client.get(path).json()["description"] == "yours"


@pytest.mark.parametrize("alias", ["", "Best", "0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f", "a" * 32, "a b"])
def test_alias_in_the_form_of_an_id_is_refused(client: httpx.Client, database: Database, alias: str) -> None:
    _, model = queue_driver.succeeded(database)

    answer = client.patch(f"/v1/models/{model.id}", json={"alias": alias})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/alias"


def test_a_model_with_an_alias_is_not_deleted_and_one_without_is(
    client: httpx.Client, database: Database
) -> None:
    job_id, model = queue_driver.succeeded(database)
    path = f"/v1/models/{model.id}"
    client.patch(path, json={"alias": "champion"})

    refused = client.delete(path)
    client.patch(path, json={"alias": None})
    deleted = client.delete(path)

    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/model-in-use")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert client.get(path).status_code == client.delete(path).status_code == 404
    assert client.get("/v1/models").json()["data"] == []
    assert client.get(f"/v1/jobs/{job_id}/evaluation").status_code == 200


def test_an_evaluation_names_its_model_by_alias_and_keeps_the_id(
    client: httpx.Client, database: Database
) -> None:
    _, model = queue_driver.succeeded(database)
    client.patch(f"/v1/models/{model.id}", json={"alias": "champion"})

    job = client.post("/v1/jobs", json={"kind": "evaluate", "spec": {"model_id": "champion"}}).json()

    assert job["spec"]["model_id"] == job["model_id"] == str(model.id)
    client.patch(f"/v1/models/{model.id}", json={"alias": None})
    refused = client.delete(f"/v1/models/{model.id}")
    assert refused.status_code == 409
    assert job["id"] in refused.json()["detail"]


def test_an_evaluation_of_an_unknown_alias_is_refused(client: httpx.Client) -> None:
    answer = client.post("/v1/jobs", json={"kind": "evaluate", "spec": {"model_id": "champion"}})

    assert answer.json()["type"] == "/problems/model-not-found"
