"""The form's fields have the limits and defaults of the request's schema, and lose nothing both ways."""

import pytest
from pydantic import ValidationError

from api.web import fields
from shared.lifecycle import JobKind
from shared.schemas import EvaluateJobCreate, EvaluateRequest, JobCreate, TrainJobCreate, TrainRequest
from tests.support.factories import make_evaluate_request, make_train_request

FULL = make_train_request()
EVALUATION = make_evaluate_request()


def field(name: str, kind: JobKind = JobKind.TRAIN) -> fields.Field:
    return next(field for field in fields.of_kind(kind) if field.name == name)


@pytest.mark.parametrize(
    ("kind", "schema", "spec"),
    [
        (JobKind.TRAIN, TrainJobCreate, TrainRequest),
        (JobKind.EVALUATE, EvaluateJobCreate, EvaluateRequest),
    ],
)
def test_the_form_has_every_field_of_the_request_once(
    kind: JobKind, schema: type[TrainJobCreate], spec: type[TrainRequest]
) -> None:
    names = [field.name for field in fields.of_kind(kind)]

    assert sorted(names) == sorted({*schema.model_fields, *spec.model_fields} - {"kind", "spec"})


@pytest.mark.parametrize(
    ("name", "limits", "default"),
    [
        ("epochs", "1 to 1,000", "10"),
        ("learning_rate", "more than 0, up to 10", "0.001"),
        ("train_size", "at least 1", ""),
        ("threshold", "0 to 1", ""),
        ("tags", "up to 16, separated by commas", ""),
        ("name", "up to 200 characters", ""),
        ("optimizer", "", "adam"),
    ],
)
def test_limits_and_defaults_are_those_of_the_schema(name: str, limits: str, default: str) -> None:
    assert (field(name).limits, field(name).default) == (limits, default)


def test_choices_are_those_of_the_schema() -> None:
    assert field("model").choices == ("cnn", "dense")
    assert field("priority").choices == ("urgent", "high", "normal", "low")


def test_a_datasets_sizes_limit_the_fields() -> None:
    form = fields.with_sizes(fields.of_kind(JobKind.TRAIN), {"train_size": (1_500, 1_400)})

    [train_size] = [field for field in form if field.name == "train_size"]
    assert (train_size.limits, train_size.default) == ("1 to 1,500", "1400")


@pytest.mark.parametrize("request_", [TrainJobCreate(), FULL, EVALUATION])
def test_a_request_survives_the_form(request_: JobCreate) -> None:
    form = fields.of_kind(request_.kind)

    assert fields.parse(request_.kind, form, fields.unparse(form, request_)) == request_


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epochs", "many", "Must be a number, 1 to 1,000"),
        ("epochs", "1001", "Must be 1 to 1,000"),
        ("epochs", "1.5", "Must be a whole number, 1 to 1,000"),
        ("epochs", "9" * 30, ""),
        ("learning_rate", "nan", "Must be a number, more than 0, up to 10"),
        ("learning_rate", "1e999", ""),
        ("learning_rate", "0", "Must be more than 0, up to 10"),
        ("optimizer", "magic", "Must be adam, sgd or rmsprop"),
        ("tags", "a" * 65, "64"),
        ("queue", "No!", "Must have only lower-case letters, digits"),
    ],
)
def test_what_is_not_possible_is_said_of_its_field(name: str, text: str, message: str) -> None:
    form = fields.of_kind(JobKind.TRAIN)
    with pytest.raises(ValidationError) as refused:
        fields.parse(JobKind.TRAIN, form, {name: text})

    found = fields.errors(form, refused.value, missing=True)
    assert list(found) == [name]
    assert message in found[name]


def test_a_missing_field_is_mentioned_only_after_a_submission() -> None:
    form = fields.of_kind(JobKind.EVALUATE)
    with pytest.raises(ValidationError) as refused:
        fields.parse(JobKind.EVALUATE, form, {})

    assert fields.errors(form, refused.value, missing=False) == {}
    assert fields.errors(form, refused.value, missing=True) == {"model_id": "Is required"}
