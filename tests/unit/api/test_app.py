import gc
from typing import Any

import httpx
import pytest

from api.app import create_app
from shared.settings import Settings
from tests.support.servers import running_app

METHODS = ("get", "post")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [path[method] for path in document["paths"].values() for method in METHODS if method in path]


def test_settings_come_from_the_environment_unless_given(
    monkeypatch: pytest.MonkeyPatch, sqlite_url: str, settings: Settings
) -> None:
    monkeypatch.setenv("TRAINSHED_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("TRAINSHED_REDIS_URL", settings.redis_url)
    with running_app(create_app()) as client:
        assert client.get("/v1/jobs").json()["data"] == []


def test_app_starts_and_responds_without_a_database_server(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": f"postgresql+psycopg://@/x?host={settings.data_dir}"})
    with running_app(create_app(away)) as client:
        assert client.get("/livez").status_code == 200


def test_full_garbage_collections_are_rare_while_the_app_runs(settings: Settings) -> None:
    before = gc.get_threshold()
    with running_app(create_app(settings)):
        assert gc.get_threshold()[2] >= 100  # Python's is 10
    assert gc.get_threshold() == before


def test_pages_are_served_and_not_in_the_openapi_document(
    client: httpx.Client, document: dict[str, Any]
) -> None:
    assert client.get("/").headers["Content-Type"] == "text/html; charset=utf-8"
    assert client.get("/docs").status_code == 200
    assert not {"/", "/jobs", "/sign-in", "/theme"} & set(document["paths"])


def test_operation_ids_are_function_names(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in _operations(document)]

    assert len(names) == len(set(names))
    assert {"submit_job", "list_jobs", "get_job", "cancel_job", "retry_job", "download_model"} <= set(names)


def test_every_operation_has_a_tag_and_a_description(document: dict[str, Any]) -> None:
    assert all(operation["tags"] and operation["description"] for operation in _operations(document))


def test_examples_of_a_submit_are_valid(client: httpx.Client) -> None:
    body = client.get("/openapi.json").json()["paths"]["/v1/jobs"]["post"]["requestBody"]
    examples = body["content"]["application/json"]["examples"]

    answers = {name: client.post("/v1/jobs", json=example["value"]) for name, example in examples.items()}

    # 404: the evaluation's model does not exist, which is checked last
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "codelab": 202,
        "train": 202,
        "evaluate": 404,
    }


def test_problems_are_documented_as_problem_documents(document: dict[str, Any]) -> None:
    responses = document["paths"]["/v1/jobs/{job_id}/evaluation"]["get"]["responses"]

    assert set(responses) == {"200", "401", "403", "404", "409", "422", "429", "500", "503"}
    assert list(responses["404"]["content"]) == ["application/problem+json"]
    reference = responses["404"]["content"]["application/problem+json"]["schema"]["$ref"]
    assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
