"""SQL for the members of two JSON objects together."""

import json
from typing import Any

from sqlalchemy import JSON
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

SQLITE_FUNCTION = "merge_json"
"""The name of `merge_json` within SQLite, whose own `json_patch` drops members that are null."""


class merged(FunctionElement[dict[str, Any]]):
    """SQL for a JSON object with the members of a second one in place of its own."""

    type = JSON()
    inherit_cache = True


def merge_json(first: str, second: str) -> str:
    """Return the text of a JSON object with the members of a second one."""
    return json.dumps(json.loads(first) | json.loads(second))


@compiles(merged, "sqlite")
def _sqlite(element: merged, compiler: SQLCompiler, **options: Any) -> str:
    return f"{SQLITE_FUNCTION}({compiler.process(element.clauses, **options)})"


@compiles(merged, "postgresql")
def _postgresql(element: merged, compiler: SQLCompiler, **options: Any) -> str:
    first, second = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CAST(CAST({first} AS JSONB) || CAST({second} AS JSONB) AS JSON)"
