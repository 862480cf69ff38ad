"""What FastAPI leaves out of the OpenAPI document, and what it says that is not so."""

from typing import Any

from api import access
from shared.schemas import Problem

_NULL = {"type": "null"}


def complete(openapi: dict[str, Any], *, keyed: bool) -> dict[str, Any]:
    """The document as it is to be shown.

    Args:
        openapi: as FastAPI makes it; it is changed.
        keyed: keys are needed whatever the database holds.
    """
    openapi["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
    access.document(openapi, keyed=keyed)
    for operations in openapi["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
    return openapi


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """What a parameter may be that is there: in an address or a header `null` is a text like any other."""
    forms = [form for form in schema.get("anyOf", ()) if form != _NULL]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    if not forms:
        return schema
    return {**forms[0], **rest} if len(forms) == 1 else {"anyOf": forms, **rest}
