"""What FastAPI leaves out of the OpenAPI document, and what it says that is not so."""

from typing import Any

from api.http.auth import SCOPES
from api.http.problems import FORBIDDEN, TOO_MANY_REQUESTS, UNAUTHENTICATED, documented
from shared.schemas import Problem, Scope

_NULL = {"type": "null"}
SECURITY_SCHEME = "apiKey"


def complete(openapi: dict[str, Any], *, keyed: bool) -> dict[str, Any]:
    """The document as it is to be shown.

    Args:
        openapi: as FastAPI makes it; it is changed.
        keyed: keys are needed whatever the database holds.
    """
    openapi["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
    add_security(openapi, keyed=keyed)
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


def add_security(openapi: dict[str, Any], *, keyed: bool) -> None:
    """Say in the OpenAPI document which operations ask for a key, and what that key must be allowed.

    Args:
        keyed: keys are needed whatever the database holds.
    """
    with_key: dict[str, list[str]] = {SECURITY_SCHEME: []}
    openapi["components"]["securitySchemes"] = {
        SECURITY_SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key. None is needed where none was made, and only this host is answered.",
        }
    }
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            scope = SCOPES.get(f"{method.upper()} {path}", Scope.ADMIN)
            if scope is not None:
                operation["security"] = [with_key] if keyed else [with_key, {}]
                operation["x-scope"] = scope.value
                for status, response in documented(UNAUTHENTICATED, FORBIDDEN, TOO_MANY_REQUESTS).items():
                    operation["responses"].setdefault(str(status), response)
