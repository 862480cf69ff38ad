"""What every page has: its policy, its theme, what the caller may do, and nothing inline."""

import re

import httpx
import pytest

from api.web.pages import Allowed, Stream
from shared.db.engine import Database
from shared.schemas import Scope
from tests.support import every_page, queue_driver


def test_a_scope_allows_what_the_scopes_before_it_allow() -> None:
    allowed = {scope: Allowed(scope) for scope in (None, *Scope)}
    assert [may.submit for may in allowed.values()] == [False, False, True, True]
    assert [may.admin for may in allowed.values()] == [False, False, False, True]


def test_the_policy_allows_scripts_and_styles_of_this_site_only(client: httpx.Client) -> None:
    policy = client.get("/").headers["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))

    assert rules == {
        "default-src": "'self'",
        "img-src": "'self' data: blob:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }


def test_no_page_has_inline_styles_scripts_or_handlers(client: httpx.Client, database: Database) -> None:
    for name, address in every_page.fill(database).items():
        html = client.get(address).text

        assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", html) == [], name
        assert re.findall(r"<script(?![^>]*\ssrc=)", html) == [], name
        assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", html), name


@pytest.mark.parametrize(("cookie", "theme"), [("dark", "dark"), ("light", "light"), ('"><b>', "")])
def test_the_theme_is_that_of_the_cookie(client: httpx.Client, cookie: str, theme: str) -> None:
    html = client.get("/", headers={"Cookie": f"trainshed_theme={cookie}"}).text
    [found] = re.findall(r'<html lang="en"(?: data-theme="(\w+)")?>', html)
    assert found == theme


def test_pages_are_fetched_again_and_kept_by_no_proxy(client: httpx.Client) -> None:
    assert client.get("/").headers["Cache-Control"] == "private, no-cache"


def test_a_live_page_names_its_stream_and_where_to_begin(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.submit(database)
    stream = Stream(f"/v1/jobs/{job_id}/stream", 1)

    html = client.get(f"/jobs/{job_id}").text

    assert f'<meta name="stream" content="{stream.address}" data-after="{stream.after}">' in html
    [(address, after)] = re.findall(
        r'name="stream" content="([^"]+)" data-after="([^"]+)"', client.get("/").text
    )
    with client.stream("GET", address, params={"after": after}) as answer:
        assert answer.status_code == 200


@pytest.mark.parametrize(("accepted", "used"), [("gzip, br", "gzip"), ("identity", None)])
def test_a_page_is_compressed_for_those_who_accept_it(
    client: httpx.Client, accepted: str, used: str | None
) -> None:
    answer = client.get("/jobs", headers={"Accept-Encoding": accepted})

    assert (answer.headers.get("Content-Encoding"), answer.headers["Vary"]) == (used, "Accept-Encoding")
    assert "No jobs yet" in answer.text
