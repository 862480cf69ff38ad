"""The documentation covers the whole API, and loads nothing from other hosts."""

import re
from html.parser import HTMLParser

import httpx
import pytest

from api.app import create_app
from api.http.docs_page import render
from shared.settings import Settings


class Outline(HTMLParser):
    """The tags, URLs and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.urls: list[str] = []
        self.ids: list[str] = []
        self.inline_styles = 0
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "link"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("href", "src") and value != "data:,":  # no icon
                self.urls.append(value or "")
            self.inline_styles += name == "style"
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def outline(client: httpx.Client) -> Outline:
    return Outline(client.get("/docs").text)


def test_page_has_no_script_and_loads_nothing_from_other_hosts(
    client: httpx.Client, outline: Outline
) -> None:
    assert "script" not in outline.tags
    assert (outline.tags.count("style"), outline.inline_styles, outline.open) == (0, 0, [])
    assert [url for url in outline.urls if not url.startswith(("#", "/"))] == []
    assert "default-src 'self'" in client.get("/docs").headers["Content-Security-Policy"]


def test_every_link_works(client: httpx.Client, outline: Outline) -> None:
    for url in set(outline.urls):
        if url.startswith("#"):
            assert url[1:] in outline.ids
        else:
            assert client.get(url).status_code == 200, url
    assert len(outline.ids) == len(set(outline.ids))


def test_page_has_every_operation_and_every_schema(settings: Settings, outline: Outline) -> None:
    document = create_app(settings).openapi()
    operations = {
        operation["operationId"] for methods in document["paths"].values() for operation in methods.values()
    }
    assert operations | set(document["components"]["schemas"]) <= set(outline.ids)


def test_text_of_the_document_is_escaped() -> None:
    text = render(
        {
            "info": {"title": "<b>", "version": "1", "description": "a `<i>` b"},
            "paths": {},
            "components": {"schemas": {}},
        }
    )
    assert "<h1>&lt;b&gt; 1</h1><p>a <code>&lt;i&gt;</code> b</p>" in text


def test_common_errors_are_explained_once_and_others_with_their_operation(client: httpx.Client) -> None:
    page = client.get("/docs").text
    articles = re.findall(r'<article id="(\w+)">(.*?)</article>', page, flags=re.DOTALL)
    assert len(articles) > 50
    for error in ("invalid-request", "database-unavailable", "unauthenticated", "malformed-json"):
        assert page.count(f">{error}<") == 1
        assert not any(f">{error}<" in article for _, article in articles)
    of = dict(articles)
    assert ">job-not-found<" in of["get_job"]
    assert ">worker-not-found<" in of["drain_worker"]
    assert ">job-not-found<" not in of["drain_worker"]
    assert '<a href="#common-errors">' in of["get_job"]
    assert "#common-errors" not in of["livez"]


def test_operations_have_their_parameters_and_the_fields_of_their_bodies(client: httpx.Client) -> None:
    page = client.get("/docs").text
    of = dict(re.findall(r'<article id="(\w+)">(.*?)</article>', page, flags=re.DOTALL))
    assert "whole number, 1 to 200</td>" in of["list_jobs"]
    assert '<td class="default"><code>50</code></td>' in of["list_jobs"]
    assert "<code>duration</code>" in of["list_jobs"]
    assert '<a href="#TrainRequest">TrainRequest</a>' in of["submit_job"]
    assert "<code>max_attempts</code></th><td>whole number, 1 to 10</td>" in of["submit_job"]


def test_no_other_documentation_is_served(client: httpx.Client) -> None:
    assert client.get("/redoc").status_code == 404
    assert not re.search(r"https?://", client.get("/docs/style.css").text)
