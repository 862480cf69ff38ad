"""The API's reference as plain HTML, made from its OpenAPI document: no script, nothing from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; border-bottom: 1px solid; }
h3 { margin: 2rem 0 0; font-family: ui-monospace, monospace; }
pre { overflow-x: auto; padding: .75rem; border: 1px dotted; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; }
details { margin: .5rem 0; }
"""


def install(app: FastAPI) -> None:
    """Serve the reference at `/docs`."""
    app.add_api_route("/docs", lambda: HTMLResponse(page(app.openapi())), include_in_schema=False)
    app.add_api_route("/docs/style.css", _style, include_in_schema=False)


def _style() -> Response:
    return Response(_STYLE, media_type="text/css")


def page(document: Mapping[str, Any]) -> str:
    """The reference of a whole API.

    Args:
        document: OpenAPI's.
    """
    title, version = escape(document["info"]["title"]), escape(document["info"]["version"])
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f'<title>{title}</title><link rel="stylesheet" href="/docs/style.css"></head><body><main>',
            f"<h1>{title} {version}</h1><p>{_text(document['info'].get('description', ''))}</p>",
            '<p>The same for programs: <a href="/openapi.json">openapi.json</a></p>',
            *_nouns(document),
            "</main></body></html>",
        ]
    )


def _nouns(document: Mapping[str, Any]) -> Iterator[str]:
    nouns: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            noun = nouns.setdefault(operation["tags"][0], [])
            noun.append("".join(_operation(f"{method.upper()} {path}", operation)))
    links = [f'<li><a href="#{noun}">{noun}</a></li>' for noun in nouns]
    yield f"<nav><ul>{''.join(links)}</ul></nav>"
    for name, described in nouns.items():
        yield f'<section id="{name}"><h2>{name}</h2>'
        yield from described
        yield "</section>"
    yield "<section><h2>Forms</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<details id="{name}"><summary>{name}</summary>{_json(schema)}</details>'
    yield "</section>"


def _operation(title: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f'<article id="{operation["operationId"]}"><h3>{escape(title)}</h3>'
    yield f"<p>{_text(operation.get('description', ''))}</p>"
    if scope := operation.get("x-scope"):
        yield f"<p>Needs a key that may <strong>{scope}</strong>, where keys are needed.</p>"
    if parameters := operation.get("parameters"):
        yield f"<table>{''.join(map(_parameter, parameters))}</table>"
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        yield from _examples(f"Request, {media_type}", body.get("examples", {}))
    for status, response in operation["responses"].items():
        yield from _answer(status, response)
    yield "</article>"


def _parameter(parameter: Mapping[str, Any]) -> str:
    needed = " (required)" if parameter.get("required") else ""
    return (
        f"<tr><th scope='row'><code>{escape(parameter['name'])}</code></th>"
        f"<td>{parameter['in']}{needed}</td><td>{_text(parameter.get('description', ''))}</td></tr>"
    )


def _answer(status: str, response: Mapping[str, Any]) -> Iterator[str]:
    yield f"<details><summary>{status} {_text(response['description'])}</summary>"
    for media_type, body in response.get("content", {}).items():
        name = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
        form = f': <a href="#{name}">{name}</a>' if name else ""
        yield f"<p>{escape(media_type)}{form}</p>"
        yield from _examples("Example", body.get("examples", {}))
    yield "</details>"


def _examples(title: str, examples: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for example in examples.values():
        summary, value = _text(example.get("summary", "")), example.get("value", example.get("externalValue"))
        yield f"<details><summary>{escape(title)}: {summary}</summary>{_json(value)}</details>"


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _text(markdown: str) -> str:
    """Words with `code` in them."""
    parts = escape(markdown).split("`")
    return "".join(f"<code>{part}</code>" if odd % 2 else part for odd, part in enumerate(parts))
