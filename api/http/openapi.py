"""Corrections to the OpenAPI document that FastAPI generates."""

from typing import Any

from api.http.auth import SECURITY_SCHEME
from api.http.problems import FORBIDDEN, TOO_MANY_REQUESTS, UNAUTHENTICATED, documented
from shared.schemas import Problem

_NULL = {"type": "null"}


def complete(openapi: dict[str, Any], *, needs_key: bool) -> dict[str, Any]:
    """Correct an OpenAPI document in place, and return it.

    Args:
        needs_key: whether every caller needs an API key, whatever keys the database holds.
    """
    openapi["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
    for operations in openapi["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
            if "security" in operation:
                _describe_security(operation, needs_key=needs_key)
    return openapi


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter's schema without null: in a URL or a header `null` is a text like any other."""
    types = [type_ for type_ in schema.get("anyOf", ()) if type_ != _NULL]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    if not types:
        return schema
    return {**types[0], **rest} if len(types) == 1 else {"anyOf": types, **rest}


def _describe_security(operation: dict[str, Any], *, needs_key: bool) -> None:
    [operation["x-scope"]] = operation["security"][0][SECURITY_SCHEME]
    if not needs_key:
        operation["security"].append({})
    for status, response in documented(UNAUTHENTICATED, FORBIDDEN, TOO_MANY_REQUESTS).items():
        operation["responses"].setdefault(str(status), response)
