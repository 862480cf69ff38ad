"""Types of the reference in words, with limits, defaults and allowed values."""

from typing import Any

import pytest

from api.http.docs_schemas import body_tables, fields_table, schema_details, type_text

SCHEMAS: dict[str, Any] = {
    "State": {"enum": ["queued", "running"], "type": "string"},
    "Spec": {
        "properties": {"epochs": {"type": "integer", "default": 10}, "name": {"type": "string"}},
        "required": ["name"],
        "description": "What to `run`.",
    },
}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer", "minimum": 1.0, "maximum": 1000.0}, "whole number, 1 to 1,000"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "number, more than 0, up to 0.5"),
        ({"type": "integer", "maximum": 2_147_483_647}, "whole number, up to 2,147,483,647"),
        ({"type": "integer", "minimum": 2}, "whole number, at least 2"),
        ({"type": "string", "minLength": 1, "maxLength": 64}, "text, 1 to 64 characters"),
        ({"type": "string", "pattern": "^[a<]$"}, "text, matching <code>^[a&lt;]$</code>"),
        ({"type": "string", "pattern": r"^[^\x00-\x1f\x7f]*$"}, "text, none of them a control character"),
        ({"type": "string", "format": "date-time"}, "time"),
        ({"type": "boolean"}, "true or false"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "number, or null"),
        ({"const": "train"}, "<code>train</code>"),
        ({"enum": ["a", "b"]}, "<code>a</code>, <code>b</code>"),
        ({"$ref": "#/components/schemas/Spec"}, '<a href="#Spec">Spec</a>'),
        (
            {"$ref": "#/components/schemas/State"},
            '<a href="#State">State</a>: <code>queued</code>, <code>running</code>',
        ),
        ({"type": "array", "items": {"type": "number"}, "maxItems": 3}, "list of number; up to 3 of them"),
        ({"type": "array", "items": {"type": "number"}}, "list of number"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "object of names to whole number"),
        ({}, "anything"),
    ],
)
def test_a_type_is_written_in_words(schema: dict[str, Any], text: str) -> None:
    assert type_text(schema, SCHEMAS) == text


def test_a_row_has_the_default_or_why_there_is_none() -> None:
    rows: list[tuple[str, str, dict[str, Any]]] = [
        ("limit", "", {"type": "integer", "default": 50, "description": "How `many`."}),
        ("job_id", "in the path", {"type": "string", "format": "uuid"}),
        ("seed", "", {"anyOf": [{"type": "integer", "description": "Decides all."}, {"type": "null"}]}),
    ]
    table = fields_table("Parameter", rows, SCHEMAS)
    assert '<td class="default"><code>50</code></td><td>How <code>many</code>.</td>' in table
    assert "<code>job_id</code><small>in the path</small></th><td>UUID</td><td></td><td></td>" in table
    assert "<td>Decides all.</td>" in table


def test_a_body_has_a_table_of_each_kind() -> None:
    reference = {"$ref": "#/components/schemas/Spec"}
    tables = "".join(body_tables({"oneOf": [reference, {"type": "string"}]}, SCHEMAS))
    assert '<h4><a href="#Spec">Spec</a></h4><p>What to <code>run</code>.</p><table>' in tables
    assert "<code>name</code><small>required</small>" in tables
    assert tables.endswith("<p>text</p>")


def test_a_schema_without_fields_lists_its_values() -> None:
    details = schema_details("State", SCHEMAS["State"], SCHEMAS)
    assert details.startswith('<details id="State">')
    assert "<p><code>queued</code>, <code>running</code></p>" in details
