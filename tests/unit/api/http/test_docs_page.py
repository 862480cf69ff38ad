"""The reference shows the whole API, and loads nothing from elsewhere."""

import re
from html.parser import HTMLParser

import httpx
import pytest

from api.app import create_app
from api.http.docs_page import page
from shared.settings import Settings


class Outline(HTMLParser):
    """What a page has: its tags, the addresses it names, its ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.inline_styles = 0
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "link"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("href", "src"):
                self.addresses.append(value or "")
            self.inline_styles += name == "style"
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def outline(client: httpx.Client) -> Outline:
    return Outline(client.get("/docs").text)


def test_it_has_no_script_and_loads_nothing_from_elsewhere(client: httpx.Client, outline: Outline) -> None:
    assert "script" not in outline.tags
    assert (outline.tags.count("style"), outline.inline_styles, outline.open) == (0, 0, [])
    assert [one for one in outline.addresses if not one.startswith(("#", "/"))] == []
    assert "default-src 'self'" in client.get("/docs").headers["Content-Security-Policy"]


def test_every_link_leads_somewhere(client: httpx.Client, outline: Outline) -> None:
    for address in set(outline.addresses):
        if address.startswith("#"):
            assert address[1:] in outline.ids
        else:
            assert client.get(address).status_code == 200, address
    assert len(outline.ids) == len(set(outline.ids))


def test_every_operation_and_every_form_is_there(settings: Settings, outline: Outline) -> None:
    document = create_app(settings).openapi()
    operations = {one["operationId"] for methods in document["paths"].values() for one in methods.values()}
    assert operations | set(document["components"]["schemas"]) <= set(outline.ids)


def test_what_the_document_says_is_text_and_not_markup() -> None:
    text = page(
        {
            "info": {"title": "<b>", "version": "1", "description": "a `<i>` b"},
            "paths": {},
            "components": {"schemas": {}},
        }
    )
    assert "<h1>&lt;b&gt; 1</h1><p>a <code>&lt;i&gt;</code> b</p>" in text


def test_no_other_page_of_documentation_is_served(client: httpx.Client) -> None:
    assert client.get("/redoc").status_code == 404
    assert not re.search(r"https?://", client.get("/docs/style.css").text)
