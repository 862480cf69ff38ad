"""The reference documentation: static HTML rendered from the OpenAPI document, without scripts."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

from api.deps import OpenThreadsDep
from api.http.auth import OPEN

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
    """Serve the documentation at `/docs`."""

    @app.get("/docs", dependencies=[OPEN], include_in_schema=False)
    async def docs(threads: OpenThreadsDep) -> HTMLResponse:
        page = await to_thread.run_sync(lambda: render(app.openapi()), limiter=threads)
        return HTMLResponse(page)

    @app.get("/docs/style.css", dependencies=[OPEN], include_in_schema=False)
    async def docs_style() -> Response:
        return Response(_STYLE, media_type="text/css")


def render(document: Mapping[str, Any]) -> str:
    """Return an OpenAPI document as an HTML page."""
    title, version = escape(document["info"]["title"]), escape(document["info"]["version"])
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f'<title>{title}</title><link rel="stylesheet" href="/docs/style.css"></head><body><main>',
            f"<h1>{title} {version}</h1><p>{_text(document['info'].get('description', ''))}</p>",
            '<p>Machine-readable: <a href="/openapi.json">openapi.json</a></p>',
            *_sections(document),
            "</main></body></html>",
        ]
    )


def _sections(document: Mapping[str, Any]) -> Iterator[str]:
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            articles = sections.setdefault(operation["tags"][0], [])
            articles.append("".join(_operation(f"{method.upper()} {path}", operation)))
    links = [f'<li><a href="#{tag}">{tag}</a></li>' for tag in sections]
    yield f"<nav><ul>{''.join(links)}</ul></nav>"
    for tag, articles in sections.items():
        yield f'<section id="{tag}"><h2>{tag}</h2>'
        yield from articles
        yield "</section>"
    yield "<section><h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<details id="{name}"><summary>{name}</summary>{_json(schema)}</details>'
    yield "</section>"


def _operation(title: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f'<article id="{operation["operationId"]}"><h3>{escape(title)}</h3>'
    yield f"<p>{_text(operation.get('description', ''))}</p>"
    if scope := operation.get("x-scope"):
        yield f"<p>Needs an API key with the scope <strong>{scope}</strong>, once a key exists.</p>"
    if parameters := operation.get("parameters"):
        yield f"<table>{''.join(map(_parameter, parameters))}</table>"
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        yield from _examples(f"Request, {media_type}", body.get("examples", {}))
    for status, response in operation["responses"].items():
        yield from _response(status, response)
    yield "</article>"


def _parameter(parameter: Mapping[str, Any]) -> str:
    required = " (required)" if parameter.get("required") else ""
    return (
        f"<tr><th scope='row'><code>{escape(parameter['name'])}</code></th>"
        f"<td>{parameter['in']}{required}</td><td>{_text(parameter.get('description', ''))}</td></tr>"
    )


def _response(status: str, response: Mapping[str, Any]) -> Iterator[str]:
    yield f"<details><summary>{status} {_text(response['description'])}</summary>"
    for media_type, body in response.get("content", {}).items():
        name = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
        schema = f': <a href="#{name}">{name}</a>' if name else ""
        yield f"<p>{escape(media_type)}{schema}</p>"
        yield from _examples("Example", body.get("examples", {}))
    yield "</details>"


def _examples(title: str, examples: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for example in examples.values():
        summary, value = _text(example.get("summary", "")), example.get("value", example.get("externalValue"))
        yield f"<details><summary>{escape(title)}: {summary}</summary>{_json(value)}</details>"


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _text(markdown: str) -> str:
    """Return the HTML of a text with `code` in backquotes."""
    parts = escape(markdown).split("`")
    return "".join(f"<code>{part}</code>" if odd % 2 else part for odd, part in enumerate(parts))
