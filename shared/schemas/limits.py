"""The limits of a field, as its JSON schema has them, in words."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel


@lru_cache
def properties(schema: type[BaseModel]) -> Mapping[str, dict[str, Any]]:
    """Return what a schema's JSON schema says about each of its fields, references resolved."""
    root = schema.model_json_schema()
    return {name: resolved(root, declared) for name, declared in root.get("properties", {}).items()}


def resolved(root: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return a field's JSON schema with what it refers to, of alternatives the first that is not null."""
    result = dict(declared)
    for part in _referred(root, declared):
        result = {**part, **result}
    return result


def _referred(root: Mapping[str, Any], declared: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in declared:
        yield resolved(root, root["$defs"][declared["$ref"].rpartition("/")[2]])
    for option in declared.get("anyOf", ())[:1]:
        yield resolved(root, option)


def number_limits(field: Mapping[str, Any]) -> str:
    """Return the limits of a number, such as `1 to 1,000`; empty if it has none."""
    least, above, most = (written(field.get(name)) for name in ("minimum", "exclusiveMinimum", "maximum"))
    if above:
        return f"more than {above}" + (f", up to {most}" if most else "")
    if least:
        return f"{least} to {most}" if most else f"at least {least}"
    return f"at most {most}" if most else ""


def written(number: float | str | None) -> str:
    """Return a number as people write it; empty for None."""
    if number is None or number == "":
        return ""
    value = float(number)
    return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:g}"
