"""What all forms have in common."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Request(BaseModel):
    """Base of everything that a client sends."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        field.pop("default", None)


# of requests in which what is left out stays as it is, whatever the field's default in Python
CHANGES = ConfigDict(json_schema_extra=_without_defaults)


class Response(BaseModel):
    """Base of everything that the API answers."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


def _not_like_a_number(value: Any) -> Any:
    # pydantic would take `true` for 1 and "5" for 5, which are no numbers in JSON; 5.0 is 5 there too
    if isinstance(value, bool | str):
        raise ValueError("Input should be a valid number")
    return value


A_NUMBER = BeforeValidator(_not_like_a_number)
# PostgreSQL's texts cannot hold a NUL, nor do people's lists want a newline
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
