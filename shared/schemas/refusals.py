"""Why a value is refused, in words: those of pydantic's errors, and of unknown fields."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from shared.schemas.limits import number_limits, properties
from shared.texts import PRINTABLE, STORABLE, advice

NOT_A_NUMBER = "number_type"  # of `shared.schemas.base.StrictNumber`
_WORDS = "words"  # the entry of an error's context that says that it is in words

QUEUE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
ALIAS_PATTERN = r"^[a-z][a-z0-9_-]{0,63}$"
HTTP_URL = r"^https?://[\x21-\x7e]+$"

_PATTERNS = {
    QUEUE_PATTERN: "must have only lower-case letters, digits, `-` and `_`, and begin with a letter or digit",
    ALIAS_PATTERN: "must have only lower-case letters, digits, `-` and `_`, and begin with a letter",
    HTTP_URL: "must be an http or https address, such as https://example.org/hook",
    PRINTABLE: "must have no character that cannot be printed",
    STORABLE: "must have no character that cannot be stored",
}

_RANGES = {
    "greater_than_equal": ("minimum", "ge"),
    "greater_than": ("exclusiveMinimum", "gt"),
    "less_than_equal": ("maximum", "le"),
}
_KINDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", NOT_A_NUMBER), "a number"),
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "string_type": "a text",
    **dict.fromkeys(("tuple_type", "list_type", "set_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "an object"),
    **dict.fromkeys(("uuid_type", "uuid_parsing"), "an id"),
}
_OTHERS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is required",
    "string_unicode": lambda _: "must be unicode, without halves of characters",
    "union_tag_invalid": lambda context: f"must be one of {context['expected_tags']}",
    "enum": lambda context: f"must be {context['expected']}".replace("'", ""),
    "literal_error": lambda context: f"must be {context['expected']}".replace("'", ""),
    "string_pattern_mismatch": lambda context: _PATTERNS.get(
        context["pattern"], f"must match the pattern {context['pattern']}"
    ),
    "string_too_short": lambda context: f"must have at least {_characters(context['min_length'])}",
    "string_too_long": lambda context: f"must have at most {_characters(context['max_length'])}",
    "too_short": lambda context: f"must have at least {context['min_length']:,}",
    "too_long": lambda context: f"must have at most {context['max_length']:,}",
}


def _characters(count: int) -> str:
    return f"{count:,} character{'s' if count > 1 else ''}"


def in_words(detail: ErrorDetails | Mapping[str, Any], limits: str = "") -> str:
    """Return what is wrong with a value, to be read after the name of its field: `must be 1 to 1,000`.

    Args:
        detail: one of pydantic's errors.
        limits: of the field, if it is a number and they are known.
    """
    context, kind = detail.get("ctx") or {}, detail["type"]
    if _WORDS in context:
        return str(context[_WORDS])
    if kind in _RANGES:
        name, key = _RANGES[kind]
        return f"must be {limits or number_limits({name: context[key]})}"
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}" + (f", {limits}" if limits else "")
    if kind in _OTHERS:
        return _OTHERS[kind](context)
    return str(detail["msg"]).removeprefix("Value error, ")


def told(place: str, detail: ErrorDetails | Mapping[str, Any]) -> str:
    """Return what is wrong with the value at a place, and the value if it is short."""
    words, value = in_words(detail), detail.get("input")
    is_shown = words.startswith("must ") and isinstance(value, str | int | float)
    return f"{f'{place}: ' if place else ''}{words}{f', not {value}' if is_shown else ''}"


def place_of(path: Sequence[int | str]) -> str:
    """Return the path of a field within a request, such as `spec.epochs`."""
    return ".".join(map(str, path))


def explained(error: ValidationError, schema: type[BaseModel]) -> ValidationError:
    """Return the error of a schema in words; of an unknown field they name the nearest known one, or all."""
    lines = [_line(each, schema) for each in error.errors(include_url=False)]
    return ValidationError.from_exception_data(error.title, lines)


def _line(detail: ErrorDetails, schema: type[BaseModel]) -> InitErrorDetails:
    # those of the schemas within this one are in words already
    own = str(detail["loc"][0]) if len(detail["loc"]) == 1 else ""
    kind, words = detail["type"], ""
    if kind == "extra_forbidden" and own:
        kind, words = "unknown_field", f"unknown field: {advice(own, schema.model_fields)}"
    elif own in schema.model_fields:
        words = in_words(detail, number_limits(properties(schema).get(own, {})))
    context = {
        key: value for key, value in detail.get("ctx", {}).items() if isinstance(value, str | int | float)
    }
    context[_WORDS] = words or in_words(detail)
    custom = PydanticCustomError(kind, "{words}", context)
    return InitErrorDetails(type=custom, loc=detail["loc"], input=detail["input"])
