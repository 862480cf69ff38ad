"""The OpenAPI document says what is so, and shows what to send and what may go wrong."""

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


@pytest.fixture
def document(settings: Settings) -> dict[str, Any]:
    return create_app(settings).openapi()


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"{method.upper()} {path}", operation


def _bodies(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each form of each request's body."""
    for name, operation in _operations(document):
        for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{name}, {media_type}", body


def _problems(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each operation's problems: its name, the status, the content."""
    for name, operation in _operations(document):
        for status, response in operation["responses"].items():
            if PROBLEM in response.get("content", {}):
                yield name, status, response["content"][PROBLEM]


def _is_valid(document: dict[str, Any], schema: dict[str, Any], value: object) -> bool:
    whole = {**schema, "components": document["components"]}
    return bool(validator_for(whole, validate_formats=True).is_valid(value))


def test_every_requests_body_has_examples(document: dict[str, Any]) -> None:
    without = [name for name, body in _bodies(document) if not body.get("examples")]

    assert without == []


def test_every_example_of_a_request_is_valid(document: dict[str, Any]) -> None:
    wrong = [
        (name, example)
        for name, body in _bodies(document)
        for example, shown in body["examples"].items()
        if "value" in shown and not _is_valid(document, body["schema"], shown["value"])
    ]

    assert wrong == []


def test_every_example_of_a_picture_is_one(document: dict[str, Any]) -> None:
    addresses = [
        shown["externalValue"]
        for _, body in _bodies(document)
        for shown in body["examples"].values()
        if "externalValue" in shown
    ]

    assert len(addresses) == 2
    for address in addresses:
        with urlopen(address) as file:
            assert mnist_images.read(file.read()).size == (1, 1)


def test_every_problem_has_an_example_of_its_type_and_status(document: dict[str, Any]) -> None:
    problems = list(_problems(document))

    assert problems
    for name, status, content in problems:
        assert content["examples"], (name, status)
        for slug, example in content["examples"].items():
            assert _is_valid(document, content["schema"], example["value"]), (name, slug)
            assert (example["value"]["type"], example["value"]["status"]) == (TYPES[slug].uri, int(status))


def test_every_error_is_a_documented_problem(document: dict[str, Any]) -> None:
    others = [
        (name, status)
        for name, operation in _operations(document)
        for status, response in operation["responses"].items()
        if status >= "400" and PROBLEM not in response.get("content", {})
    ]

    # which tells what it is that is not ready
    assert others == [("GET /readyz", "503")]


def test_no_parameter_can_be_null(document: dict[str, Any]) -> None:
    parameters = [one for _, operation in _operations(document) for one in operation.get("parameters", ())]

    assert parameters
    assert "'null'" not in str([one["schema"] for one in parameters])


def test_a_parameter_of_several_forms_keeps_those_that_are_not_null() -> None:
    forms = [{"type": "integer"}, {"type": "string"}]
    parameter = {"schema": {"anyOf": [*forms, {"type": "null"}], "title": "A"}}
    openapi = {
        "components": {"schemas": {}},
        "paths": {"/livez": {"get": {"parameters": [parameter], "responses": {}}}},
    }

    complete(openapi, keyed=False)

    assert parameter["schema"] == {"anyOf": forms, "title": "A"}


def test_what_a_change_leaves_out_has_no_default(document: dict[str, Any]) -> None:
    for name in ("JobPatch", "JobClone", "ModelPatch"):
        properties = document["components"]["schemas"][name]["properties"]
        assert properties
        assert not any("default" in one for one in properties.values())
