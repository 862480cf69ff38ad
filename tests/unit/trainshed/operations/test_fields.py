"""Keyword arguments have the fields of the requests, and the values of the enumerations."""

from typing import Any, get_args

import pytest
from pydantic import BaseModel

from shared import schemas
from trainshed.operations import fields

OPTIONS = set(schemas.TrainJobCreate.model_fields) - {"kind", "spec"}


def names(*models: type[BaseModel]) -> set[str]:
    return {name for model in models for name in model.model_fields}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (fields.JobFields, OPTIONS),
        (fields.TrainFields, OPTIONS | names(schemas.TrainRequest)),
        (fields.EvaluateFields, OPTIONS | names(schemas.EvaluateRequest) - {"model_id"}),
        (fields.CloneFields, OPTIONS | names(schemas.SpecChanges)),
        (fields.JobChanges, names(schemas.JobPatch)),
        (fields.JobFilters, names(schemas.JobListQuery) - {"limit", "cursor"}),
        (fields.ModelChanges, names(schemas.ModelPatch)),
    ],
)
def test_the_typed_fields_are_those_of_the_requests(typed: Any, expected: set[str]) -> None:
    assert set(typed.__annotations__) == expected


@pytest.mark.parametrize("name", [name for name in vars(fields) if name.startswith("Any") and name != "Any"])
def test_each_member_of_an_enumeration_may_be_given_by_its_value(name: str) -> None:
    enumeration, *literals = get_args(getattr(fields, name))
    members = get_args(enumeration) or enumeration  # some of an enumeration's, or all
    assert [value for literal in literals for value in get_args(literal)] == [str(item) for item in members]


def test_fields_of_the_specification_are_told_apart() -> None:
    request = fields.with_spec({"epochs": 2, "name": "a"}, schemas.TrainRequest, schemas.TrainJobCreate)
    assert request == {"name": "a", "spec": {"epochs": 2}}
