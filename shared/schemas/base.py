"""Base classes and field types that all schemas share."""

from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from shared.schemas.refusals import NOT_A_NUMBER, explained

T = TypeVar("T")


class Request(BaseModel):
    """Base of all request schemas. Unknown fields are refused, so that a misspelt one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _advise(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(value)
        except ValidationError as error:
            raise explained(error, cls) from None


def _remove_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


PARTIAL_UPDATE = ConfigDict(json_schema_extra=_remove_defaults)
"""Config of requests whose omitted fields stay unchanged: the JSON schema has no Python defaults."""


class Response(BaseModel):
    """Base of all response schemas."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Page(Response, Generic[T]):
    """A page of a list.

    Attributes:
        data: the items, in the list's order.
        next_cursor: the `cursor` of the next page. None after the last page, except in lists that grow at
            their end (a job's events and its log): there it is always set, so that they can be followed.
        has_more: whether the next page has items already.
    """

    data: tuple[T, ...]
    next_cursor: str | None
    has_more: bool

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """Return the schema's title in the OpenAPI document, such as `JobPage`."""
        return f"{params[0].__name__}Page"


def _refuse_bool_and_str(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticCustomError(NOT_A_NUMBER, "must be a number")
    return value


StrictNumber = BeforeValidator(_refuse_bool_and_str)
"""Refuses `true` and `"5"`, which pydantic would convert; `5.0` is accepted for an int, as JSON has it."""

MaxRunning = Annotated[
    Annotated[int, Field(ge=1, le=2**31 - 1), StrictNumber] | None,
    Field(description="How many of its jobs may run at the same time; null: not limited."),
]
"""A limit of a queue or of an API key."""
