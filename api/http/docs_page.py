"""The reference documentation: static HTML rendered from the OpenAPI document, without scripts."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

from anyio import to_thread
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

from api.deps import OpenThreadsDep
from api.http.auth import OPEN
from api.http.docs_schemas import Schema, body_tables, fields_table, paragraphs, schema_details, text

_PROBLEM = "application/problem+json"
_SUCCESS = "Successful Response"  # FastAPI's default description, which the page omits


class _Error(NamedTuple):
    status: str
    slug: str
    title: str
    advice: str


class _Operation(NamedTuple):
    method: str
    path: str
    content: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.content["operationId"])

    @property
    def errors(self) -> list[_Error]:
        """The operation's possible error responses."""
        return [
            _Error(status, slug, example["summary"], example["value"]["detail"])
            for status, response in sorted(self.content["responses"].items())
            for slug, example in response.get("content", {}).get(_PROBLEM, {}).get("examples", {}).items()
        ]


def install(app: FastAPI) -> None:
    """Serve the documentation at `/docs`."""
    style = files("api.http").joinpath("docs.css").read_text()

    @app.get("/docs", dependencies=[OPEN], include_in_schema=False)
    async def docs(threads: OpenThreadsDep) -> HTMLResponse:
        page = await to_thread.run_sync(lambda: render(app.openapi()), limiter=threads)
        return HTMLResponse(page)

    @app.get("/docs/style.css", dependencies=[OPEN], include_in_schema=False)
    async def docs_style() -> Response:
        return Response(style, media_type="text/css")


def render(document: Mapping[str, Any]) -> str:
    """Return an OpenAPI document as an HTML page."""
    title, version = escape(document["info"]["title"]), escape(document["info"]["version"])
    operations = [
        _Operation(method.upper(), path, content)
        for path, methods in document["paths"].items()
        for method, content in methods.items()
    ]
    schemas = document["components"]["schemas"]
    tags = list(dict.fromkeys(operation.content["tags"][0] for operation in operations))
    by_tag = {tag: [each for each in operations if each.content["tags"][0] == tag] for tag in tags}
    common = _common_errors(operations)
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{title}: API reference</title>",
            '<link rel="icon" href="data:,"><link rel="stylesheet" href="/docs/style.css"></head><body>',
            f'<nav aria-label="Contents">{"".join(_contents(by_tag))}</nav><main>',
            f"<h1>{title} {version}</h1>{paragraphs(document['info'].get('description', ''))}",
            '<p>For programs: <a href="/openapi.json">openapi.json</a></p>',
            *_common_section(common),
            *(part for tag in tags for part in _tag_section(tag, by_tag[tag], common, schemas)),
            '<section id="schemas"><h2>Schemas</h2>',
            *(schema_details(name, schema, schemas) for name, schema in schemas.items()),
            "</section></main></body></html>",
        ]
    )


def _common_errors(operations: Iterable[_Operation]) -> list[_Error]:
    """Return the errors of most operations, and of most with a body, which the page explains only once."""
    found: list[_Error] = []
    for group in (list(operations), [each for each in operations if "requestBody" in each.content]):
        counts = Counter(error for operation in group for error in operation.errors)
        found += [error for error, count in counts.items() if count > len(group) / 2 and error not in found]
    return sorted(found)


def _contents(by_tag: Mapping[str, Iterable[_Operation]]) -> Iterator[str]:
    yield '<ul><li><a href="#common-errors">common errors</a></li>'
    for tag, operations in by_tag.items():
        links = (f'<li><a href="#{each.id}">{_signature(each)}</a></li>' for each in operations)
        yield f'<li><a href="#{tag}">{tag}</a><ul>{"".join(links)}</ul></li>'
    yield '<li><a href="#schemas">schemas</a></li></ul>'


def _signature(operation: _Operation) -> str:
    return f"<b>{operation.method}</b> {escape(operation.path)}"


def _common_section(errors: Iterable[_Error]) -> Iterator[str]:
    yield '<section id="common-errors"><h2>Common errors</h2><p>Of most requests, or of most with a body. '
    yield f"The others are listed with their operation.</p>{_error_table(errors)}</section>"


def _error_table(errors: Iterable[_Error]) -> str:
    rows = (
        f'<tr><th scope="row">{error.status}</th>'
        f'<td><a href="/problems/{error.slug}"><code>{error.slug}</code></a></td>'
        f"<td>{text(error.title)}. {text(error.advice)}</td></tr>"
        for error in errors
    )
    head = "<thead><tr><th>Status</th><th>Type</th><th>What it means, and what to do</th></tr></thead>"
    return f'<table class="errors">{head}<tbody>{"".join(rows)}</tbody></table>'


def _tag_section(
    tag: str, operations: Iterable[_Operation], common: Iterable[_Error], schemas: Mapping[str, Schema]
) -> Iterator[str]:
    yield f'<section id="{tag}"><h2>{tag}</h2>'
    for operation in operations:
        yield from _article(operation, common, schemas)
    yield "</section>"


def _article(operation: _Operation, common: Iterable[_Error], schemas: Mapping[str, Schema]) -> Iterator[str]:
    content = operation.content
    yield f'<article id="{operation.id}"><h3>{_signature(operation)}</h3>'
    yield paragraphs(content.get("description", ""))
    if scope := content.get("x-scope"):
        yield f"<p>Needs an API key with the scope <strong>{scope}</strong>, once a key exists.</p>"
    if parameters := content.get("parameters"):
        rows = [(each["name"], _place(each), {**each, **each["schema"]}) for each in parameters]
        yield fields_table("Parameter", rows, schemas)
    for media_type, body in content.get("requestBody", {}).get("content", {}).items():
        yield f"<h4>Body: {escape(media_type)}</h4>"
        yield from body_tables(body.get("schema", {}), schemas)
        yield from _examples("Example", body.get("examples", {}))
    for status, response in content["responses"].items():
        if _PROBLEM not in response.get("content", {}):
            yield from _answer(status, response)
    if own := [error for error in operation.errors if error not in common]:
        yield f"<h4>Errors</h4>{_error_table(own)}"
    if len(own) < len(operation.errors):
        yield f'<p>{"Also the" if own else "The"} <a href="#common-errors">common errors</a>.</p>'
    yield "</article>"


def _place(parameter: Mapping[str, Any]) -> str:
    """Return the note on a parameter: its place or, for one of the query, whether it is required."""
    if parameter["in"] == "query":
        return "required" if parameter.get("required") else ""
    return {"path": "in the path", "header": "a header"}[parameter["in"]]


def _answer(status: str, response: Mapping[str, Any]) -> Iterator[str]:
    description = "" if response["description"] == _SUCCESS else f" {text(response['description'])}"
    kinds = []
    for media_type, body in response.get("content", {}).items():
        name = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
        kinds.append(f"{escape(media_type)}{f': <a href=#{name}>{name}</a>' if name else ''}")
    yield f'<p class="answer"><b>{status}</b>{description} {", ".join(kinds)}</p>'
    for body in response.get("content", {}).values():
        yield from _examples("Example", body.get("examples", {}))


def _examples(title: str, examples: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for example in examples.values():
        value = example.get("value", example.get("externalValue"))
        shown = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        summary = text(example.get("summary", ""))
        # scrollable elements must be reachable by keyboard
        pre = f'<pre tabindex="0">{escape(shown)}</pre>'
        yield f"<details><summary>{title}: {summary}</summary>{pre}</details>"
