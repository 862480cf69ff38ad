"""Schemas of the OpenAPI document as HTML: types in words, with their limits, defaults and allowed values."""

import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

Schema = Mapping[str, Any]

_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
_NULL = {"type": "null"}
_TYPES = {"string": "text", "boolean": "true or false", "object": "object", "null": "null"}
_FORMATS = {"uuid": "UUID", "date-time": "time", "binary": "bytes"}
_MAX_VALUE = 60  # characters of a default value that fits into a table


def schema_details(name: str, schema: Schema, schemas: Mapping[str, Schema]) -> str:
    """Return a collapsible section on a named schema, with its values or a table of its fields."""
    content = paragraphs(schema.get("description", "")) + "".join(_content(schema, schemas))
    return f'<details id="{name}"><summary><code>{name}</code></summary>{content}</details>'


def _content(schema: Schema, schemas: Mapping[str, Schema]) -> Iterator[str]:
    if properties := schema.get("properties"):
        rows = [
            (name, "required" if name in schema.get("required", ()) else "", field)
            for name, field in properties.items()
        ]
        yield fields_table("Field", rows, schemas)
    else:
        yield f"<p>{type_text(schema, schemas)}</p>"


def body_tables(schema: Schema, schemas: Mapping[str, Schema]) -> Iterator[str]:
    """Yield a table of fields for each kind of body that a request may have."""
    for kind in schema.get("oneOf", [schema]):
        resolved = _resolved(kind, schemas)
        if "$ref" in kind:
            yield f'<h4><a href="#{_name(kind)}">{_name(kind)}</a></h4>'
        yield paragraphs(resolved.get("description", ""))
        yield from _content(resolved, schemas)


def fields_table(title: str, rows: Iterable[tuple[str, str, Schema]], schemas: Mapping[str, Schema]) -> str:
    """Return a table of fields or parameters; each row is a name, a note such as `required`, and a schema."""
    return (
        f"<table><thead><tr><th>{title}</th><th>Type</th><th>Default</th><th>Description</th></tr></thead>"
        f"<tbody>{''.join(_row(*row, schemas) for row in rows)}</tbody></table>"
    )


def _row(name: str, note: str, schema: Schema, schemas: Mapping[str, Schema]) -> str:
    small = f"<small>{escape(note)}</small>" if note else ""
    default = "<td></td>"
    if "default" in schema and not note:
        default = f'<td class="default"><code>{escape(_short(schema["default"]))}</code></td>'
    return (
        f'<tr><th scope="row"><code>{escape(name)}</code>{small}</th><td>{type_text(schema, schemas)}</td>'
        f"{default}<td>{text(_description(schema))}</td></tr>"
    )


def _short(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= _MAX_VALUE else "{...}"


def _description(schema: Schema) -> str:
    """Return the description of a schema, or of its first alternative that has one."""
    described = [schema, *schema.get("anyOf", ())]
    return next((str(part["description"]) for part in described if "description" in part), "")


def type_text(schema: Schema, schemas: Mapping[str, Schema]) -> str:
    """Return a schema's type in words: `whole number, 1 to 1,000`."""
    if "$ref" in schema:
        values = _resolved(schema, schemas).get("enum", ())
        link = f'<a href="#{_name(schema)}">{_name(schema)}</a>'
        return f"{link}: {_values(values)}" if values else link
    if "const" in schema or "enum" in schema:
        return _values(schema.get("enum") or [schema["const"]])
    if parts := schema.get("anyOf") or schema.get("oneOf"):
        return ", or ".join(type_text(part, schemas) for part in parts)
    if schema.get("type") == "array":
        items = type_text(schema["items"], schemas) if "items" in schema else "anything"
        length = _range(schema, "minItems", "maxItems")
        return f"list of {items}" + (f"; {length} of them" if length else "")
    if isinstance(values := schema.get("additionalProperties"), Mapping):
        return f"object of names to {type_text(values, schemas)}"
    return ", ".join(_words(schema))


def _words(schema: Schema) -> Iterator[str]:
    kind = str(schema.get("type", "anything"))
    if kind in ("integer", "number"):
        yield "whole number" if kind == "integer" else "number"
        if values := _range(schema, "minimum", "maximum"):
            yield values
        return
    yield _FORMATS.get(schema.get("format", ""), _TYPES.get(kind, kind))
    if length := _range(schema, "minLength", "maxLength"):
        yield f"{length} characters"
    if (pattern := schema.get("pattern")) == _PRINTABLE:
        yield "none of them a control character"
    elif pattern:
        yield f"matching <code>{escape(pattern)}</code>"


def _range(schema: Schema, least: str, greatest: str) -> str:
    """Return limits in words, or an empty text if there are none."""
    low, high, above = schema.get(least), schema.get(greatest), schema.get("exclusiveMinimum")
    if above is not None and least == "minimum":
        return f"more than {above:,g}" + (f", up to {high:,.12g}" if high is not None else "")
    if low is not None and high is not None:
        return f"{low:,.12g} to {high:,.12g}" if low != high else f"{low:,.12g}"
    return f"at least {low:,.12g}" if low is not None else f"up to {high:,.12g}" if high is not None else ""


def _values(values: Iterable[Any]) -> str:
    return ", ".join(f"<code>{escape(str(value))}</code>" for value in values)


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _resolved(schema: Schema, schemas: Mapping[str, Schema]) -> Schema:
    return schemas[_name(schema)] if "$ref" in schema else schema


def paragraphs(markdown: str) -> str:
    """Return the HTML of paragraphs with `code` in backquotes."""
    return "".join(f"<p>{text(part)}</p>" for part in markdown.split("\n\n") if part.strip())


def text(markdown: str) -> str:
    """Return the HTML of a text with `code` in backquotes."""
    parts = escape(markdown).split("`")
    return "".join(f"<code>{part}</code>" if odd % 2 else part for odd, part in enumerate(parts))
