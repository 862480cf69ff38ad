"""What is wrong with a request is said in words, with limits of fields and the nearest known field."""

import pytest
from pydantic import ValidationError

from shared.schemas import JobListQuery, TrainJobCreate, TrainRequest


def _errors(**request: object) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        TrainJobCreate.model_validate(request)
    return [(".".join(map(str, each["loc"])), each["msg"]) for each in caught.value.errors()]


def test_the_nearest_field_is_named_wherever_it_is() -> None:
    assert _errors(spec={"epoch": 1}) == [("spec.epoch", "unknown field: did you mean `epochs`?")]
    assert _errors(tag=["a"]) == [("tag", "unknown field: did you mean `tags`?")]


def test_all_fields_are_named_if_none_is_near() -> None:
    [(_, message)] = _errors(spec={"gpus": 1})
    assert message.startswith("unknown field: the known ones are dataset, model, ")


def test_other_errors_of_the_same_request_are_kept() -> None:
    errors = dict(_errors(spec={"epoch": 1, "optimizer": "lion", "batch_size": 0}, name="", priority=3))
    assert set(errors) == {"name", "priority", "spec.optimizer", "spec.batch_size", "spec.epoch"}
    assert errors["spec.batch_size"] == "must be 1 to 65,536"


def test_the_schema_of_a_request_stays_that_of_its_fields() -> None:
    assert TrainRequest.model_json_schema()["additionalProperties"] is False
    assert JobListQuery.model_json_schema()["properties"]["limit"]["maximum"] == 200
