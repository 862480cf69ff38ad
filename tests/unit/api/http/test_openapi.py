"""The OpenAPI document is correct, and has examples of requests and of problems."""

from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest
from jsonschema_rs import validator_for

from api.app import create_app
from api.http.openapi import complete
from api.http.problems import TYPES
from api.prediction import mnist_images
from shared.settings import Settings

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"{method.upper()} {path}", operation


def _bodies(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The body of each operation, by media type."""
    for name, operation in _operations(document):
        for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{name}, {media_type}", body


def _problems(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The problems of each operation: its name, the status, the content."""
    for name, operation in _operations(document):
        for status, response in operation["responses"].items():
            if PROBLEM in response.get("content", {}):
                yield name, status, response["content"][PROBLEM]


def _is_valid(document: dict[str, Any], schema: dict[str, Any], value: object) -> bool:
    whole = {**schema, "components": document["components"]}
    return bool(validator_for(whole, validate_formats=True).is_valid(value))


def test_every_request_body_has_examples(document: dict[str, Any]) -> None:
    without = [name for name, body in _bodies(document) if not body.get("examples")]

    assert without == []


def test_every_example_of_a_request_body_is_valid(document: dict[str, Any]) -> None:
    wrong = [
        (name, example)
        for name, body in _bodies(document)
        for example, content in body["examples"].items()
        if "value" in content and not _is_valid(document, body["schema"], content["value"])
    ]

    assert wrong == []


def test_every_example_of_an_image_can_be_decoded(document: dict[str, Any]) -> None:
    addresses = [
        content["externalValue"]
        for _, body in _bodies(document)
        for content in body["examples"].values()
        if "externalValue" in content
    ]

    assert len(addresses) == 2
    for address in addresses:
        with urlopen(address) as file:
            assert mnist_images.decode(file.read()).image.size == (1, 1)


def test_every_problem_has_an_example_of_its_type_and_status(document: dict[str, Any]) -> None:
    problems = list(_problems(document))

    assert problems
    for name, status, content in problems:
        assert content["examples"], (name, status)
        for slug, example in content["examples"].items():
            assert _is_valid(document, content["schema"], example["value"]), (name, slug)
            assert (example["value"]["type"], example["value"]["status"]) == (TYPES[slug].uri, int(status))


def test_every_error_response_is_a_problem(document: dict[str, Any]) -> None:
    others = [
        (name, status)
        for name, operation in _operations(document)
        for status, response in operation["responses"].items()
        if status >= "400" and PROBLEM not in response.get("content", {})
    ]

    # its body names what is not ready
    assert others == [("GET /readyz", "503")]


def test_no_parameter_is_nullable(document: dict[str, Any]) -> None:
    parameters = [
        parameter for _, operation in _operations(document) for parameter in operation.get("parameters", ())
    ]

    assert parameters
    assert "'null'" not in str([parameter["schema"] for parameter in parameters])


def test_parameter_of_several_types_keeps_all_but_null() -> None:
    types = [{"type": "integer"}, {"type": "string"}]
    parameter = {"schema": {"anyOf": [*types, {"type": "null"}], "title": "A"}}
    openapi = {
        "components": {"schemas": {}},
        "paths": {"/livez": {"get": {"parameters": [parameter], "responses": {}}}},
    }

    complete(openapi, needs_key=False)

    assert parameter["schema"] == {"anyOf": types, "title": "A"}


def test_fields_of_partial_updates_have_no_default(document: dict[str, Any]) -> None:
    for name in ("JobPatch", "JobClone", "ModelPatch"):
        properties = document["components"]["schemas"][name]["properties"]
        assert properties
        assert not any("default" in schema for schema in properties.values())
