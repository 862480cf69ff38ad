"""Fields of the form for a new job, made from the request's schema, with the same limits and defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from api.web.forms import number, texts
from shared.lifecycle import JobKind
from shared.schemas import EvaluateJobCreate, JobCreate, TrainJobCreate
from shared.schemas.limits import number_limits, resolved
from shared.schemas.refusals import in_words

_SCHEMAS: dict[JobKind, type[TrainJobCreate] | type[EvaluateJobCreate]] = {
    JobKind.TRAIN: TrainJobCreate,
    JobKind.EVALUATE: EvaluateJobCreate,
}
_STRUCTURE = ("kind", "spec")

Values = Mapping[str, str]
"""The contents of a form's fields, by name; fields may be missing."""


@dataclass(frozen=True)
class Field:
    """A field of a form.

    Attributes:
        name: the field's name in the form and in the request, unique among all parts of the request.
        in_spec: whether the field belongs to the job's `spec`.
        type: JSON's `string`, `integer`, `number` or `boolean`, or `array` for texts separated by commas.
        default: the value if the field is left empty, as text; empty if there is no default.
        choices: the only possible values; empty if any value is possible.
        suggestions: some of the possible values.
        minimum, maximum: the limits of a number, as text; empty if there is no limit.
        above: the exclusive lower limit of a number, as text; empty if there is no limit.
        length: the largest number of characters of a text, or of texts in an array.
    """

    name: str
    in_spec: bool
    type: str
    default: str = ""
    description: str = ""
    choices: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    minimum: str = ""
    maximum: str = ""
    above: str = ""
    length: int | None = None
    is_required: bool = False

    @property
    def limits(self) -> str:
        """The limits in words."""
        if self.choices:
            return ""
        if self.type == "array":
            return f"up to {self.length}, separated by commas"
        bounds = {"minimum": self.minimum, "maximum": self.maximum, "exclusiveMinimum": self.above}
        if limits := number_limits(bounds):
            return limits
        return f"up to {self.length} characters" if self.length else ""


def of_kind(kind: JobKind) -> tuple[Field, ...]:
    """Return the fields of a request for a job of a kind, as its schema describes them."""
    schema = _SCHEMAS[kind].model_json_schema()
    spec = resolved(schema, schema["properties"]["spec"])
    options = {name: value for name, value in schema["properties"].items() if name not in _STRUCTURE}
    return (
        *(_field(schema, name, value, spec, in_spec=True) for name, value in spec["properties"].items()),
        *(_field(schema, name, value, schema, in_spec=False) for name, value in options.items()),
    )


def with_sizes(fields: tuple[Field, ...], sizes: Mapping[str, tuple[int, int]]) -> tuple[Field, ...]:
    """Return the fields with the maximum and the default numbers of images of a dataset.

    Args:
        sizes: the maximum and the default, by the field's name.
    """
    return tuple(
        replace(field, maximum=str(sizes[field.name][0]), default=str(sizes[field.name][1]))
        if field.name in sizes
        else field
        for field in fields
    )


def with_choices(
    fields: tuple[Field, ...],
    *,
    choices: Mapping[str, tuple[str, ...]],
    suggestions: Mapping[str, tuple[str, ...]],
) -> tuple[Field, ...]:
    """Return the fields with possible values that only this server knows."""
    return tuple(
        replace(
            field,
            choices=choices.get(field.name, field.choices),
            suggestions=suggestions.get(field.name, field.suggestions),
        )
        for field in fields
    )


def parse(kind: JobKind, fields: tuple[Field, ...], values: Values) -> JobCreate:
    """Return the request that a form's values describe; empty values are left out.

    Raises:
        ValidationError: a value is not possible.
    """
    job: dict[str, Any] = {"kind": kind, "spec": {}}
    for field in fields:
        if text := values.get(field.name, "").strip():
            (job["spec"] if field.in_spec else job)[field.name] = _value(field, text)
    return _SCHEMAS[kind].model_validate(job)


def unparse(fields: tuple[Field, ...], request: JobCreate) -> dict[str, str]:
    """Return the values with which a form describes a request; those equal to a default are left out."""
    job = request.model_dump(mode="json", exclude_defaults=True)
    given = {**job.get("spec", {}), **job}
    return {field.name: _text(given[field.name]) for field in fields if given.get(field.name) is not None}


def errors(fields: tuple[Field, ...], error: ValidationError, *, missing: bool) -> dict[str, str]:
    """Return the error of each field, by name; an error that belongs to no field has the name "".

    Args:
        missing: whether to mention required fields that are empty.
    """
    names = {field.name for field in fields}
    found: dict[str, str] = {}
    for item in error.errors():
        name = next((str(part) for part in item["loc"] if part in names), "")
        if item["type"] == "missing" and not missing:
            continue
        message = in_words(item)
        found.setdefault(name, message[:1].upper() + message[1:])
    return found


def _value(field: Field, text: str) -> Any:
    if field.type == "array":
        return texts(text)
    if field.type == "boolean":
        return text == "true"
    return number(text) if field.type in ("integer", "number") else text


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _field(
    root: dict[str, Any], name: str, declared: dict[str, Any], parent: dict[str, Any], *, in_spec: bool
) -> Field:
    schema = resolved(root, declared)
    default = schema.get("default")
    type_ = schema.get("type", "string")
    return Field(
        name=name,
        in_spec=in_spec,
        type=type_,
        default="" if default is None else _text(default),
        description=schema.get("description", "") if "enum" not in schema else "",
        choices=tuple(schema.get("enum", ())),
        minimum=_number(schema.get("minimum")),
        maximum=_number(schema.get("maximum")),
        above=_number(schema.get("exclusiveMinimum")),
        length=schema.get("maxItems" if type_ == "array" else "maxLength"),
        is_required=name in parent.get("required", ()),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
