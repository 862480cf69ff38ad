"""Errors of unknown fields, which say which known one may have been meant."""

from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

_OF_PYDANTIC = frozenset(get_args(ErrorType))


def with_advice(error: ValidationError, schema: type[BaseModel]) -> ValidationError:
    """Return the error of a schema; for each unknown field it names the nearest known one, or all."""
    details = error.errors(include_url=False)
    if not any(_is_unknown(each) for each in details):
        return error
    return ValidationError.from_exception_data(error.title, [_line(each, schema) for each in details])


def _is_unknown(detail: ErrorDetails) -> bool:
    # of this schema itself: those of the schemas within it have their advice already
    return detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1


def _line(detail: ErrorDetails, schema: type[BaseModel]) -> InitErrorDetails:
    kind: str | PydanticCustomError = detail["type"]
    if _is_unknown(detail):
        kind = PydanticCustomError(
            "unknown_field", "unknown field: {advice}", {"advice": _advice(detail, schema)}
        )
    elif kind not in _OF_PYDANTIC:
        kind = PydanticCustomError(kind, detail["msg"])  # type: ignore[arg-type]  # any text
    return InitErrorDetails(type=kind, loc=detail["loc"], input=detail["input"], ctx=detail.get("ctx", {}))


def _advice(detail: ErrorDetails, schema: type[BaseModel]) -> str:
    known = list(schema.model_fields)
    nearest = get_close_matches(str(detail["loc"][0]), known, n=1)
    return f"did you mean `{nearest[0]}`?" if nearest else f"the known ones are {', '.join(known)}"
