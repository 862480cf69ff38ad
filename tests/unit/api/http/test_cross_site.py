"""Requests from pages of other web sites are refused; programs and the API's own pages are not."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from api.app import create_app
from shared.settings import Settings
from tests.support.servers import running_app

FRIEND = "https://friend.example"

Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve(settings: Settings, database_url: str) -> Iterator[Serve]:
    """Serves the API with settings of the test's, and returns a client of it."""
    with ExitStack() as servers:

        def serve(**values: Any) -> httpx.Client:
            own = Settings.model_validate({**settings.model_dump(), "database_url": database_url, **values})
            return servers.enter_context(running_app(create_app(own)))

        yield serve


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:9"])
def test_own_names_of_this_host_are_accepted(client: httpx.Client, host: str) -> None:
    assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[", ""]
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/livez", "/docs"])
def test_other_host_name_is_refused(client: httpx.Client, host: str, path: str) -> None:
    answer = client.get(path, headers={"Host": host})

    assert answer.status_code in (400, 421)  # 400: refused by uvicorn, as malformed
    if answer.status_code == 421:
        assert answer.json()["type"] == "/problems/wrong-host"


def test_host_name_of_the_settings_is_accepted(serve: Serve) -> None:
    client = serve(allowed_hosts="train.example.org")

    assert client.get("/livez", headers={"Host": "train.example.org"}).status_code == 200
    assert client.get("/livez", headers={"Host": "evil.example"}).status_code == 421


def test_beyond_loopback_any_host_name_is_accepted_unless_some_are_listed(serve: Serve) -> None:
    public = {"host": "0.0.0.0", "api_keys": "x" * 16}

    assert serve(**public).get("/livez", headers={"Host": "example.org"}).status_code == 200
    listed = serve(**public, allowed_hosts="example.org")
    assert listed.get("/livez", headers={"Host": "example.org"}).status_code == 200
    assert listed.get("/livez", headers={"Host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # another port of this host
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
    ids=str,
)
def test_page_of_another_site_cannot_change_anything(client: httpx.Client, headers: dict[str, str]) -> None:
    job = client.post("/v1/jobs", json={"kind": "train"}).json()

    for path in (f"/v1/jobs/{job['id']}/cancel", f"/v1/jobs/{job['id']}/retry", "/v1/jobs"):
        answer = client.post(path, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/cross-site")

    assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded; charset=utf-8"])
def test_html_form_is_refused_even_without_headers_that_name_its_site(
    client: httpx.Client, content_type: str
) -> None:
    job = client.post("/v1/jobs", json={"kind": "train"}).json()

    answer = client.post(f"/v1/jobs/{job['id']}/cancel", headers={"Content-Type": content_type}, content="a")

    assert answer.status_code == 415
    assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued"


def test_own_pages_and_programs_may_change_things(client: httpx.Client) -> None:
    for headers in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": str(client.base_url)}):
        assert client.post("/v1/jobs", json={"kind": "train"}, headers=headers).status_code == 202


def test_by_default_pages_of_other_sites_cannot_read(client: httpx.Client) -> None:
    answer = client.get("/v1/jobs", headers={"Origin": "https://evil.example"})

    assert "Access-Control-Allow-Origin" not in answer.headers


def test_site_of_the_settings_may_read_and_change(serve: Serve) -> None:
    client, friend = serve(cors_origins=FRIEND), {"Origin": FRIEND}

    preflight = _preflight(client, "POST")
    assert preflight.headers["Access-Control-Allow-Origin"] == FRIEND
    made = client.post("/v1/jobs", json={"kind": "train"}, headers={**friend, "Sec-Fetch-Site": "cross-site"})
    assert made.status_code == 202
    assert "Location" in made.headers["Access-Control-Expose-Headers"]
    other = client.post("/v1/jobs", json={"kind": "train"}, headers={"Origin": "https://evil.example"})
    assert other.status_code == 403


def test_site_of_the_settings_may_edit_a_job_if_it_is_unchanged(serve: Serve) -> None:
    preflight = _preflight(serve(cors_origins=FRIEND), "PATCH", "If-Match")

    assert preflight.status_code == 200
    assert "If-Match" in preflight.headers["Access-Control-Allow-Headers"]


def test_site_of_the_settings_may_send_every_header_that_the_api_reads(serve: Serve) -> None:
    client = serve(cors_origins=FRIEND)
    operations = [
        operation
        for methods in client.get("/openapi.json").json()["paths"].values()
        for operation in methods.values()
    ]
    parameters = [parameter for operation in operations for parameter in operation.get("parameters", ())]
    documented = {parameter["name"] for parameter in parameters if parameter["in"] == "header"}

    for header in {*documented, "Accept", "Authorization", "Content-Type", "X-Request-ID"}:
        assert _preflight(client, "GET", header).status_code == 200, header
    assert _preflight(client, "GET", "X-Unknown").status_code == 400


def _preflight(client: httpx.Client, method: str, *headers: str) -> httpx.Response:
    """The preflight request that a browser sends for a page of that site."""
    return client.options(
        "/v1/jobs",
        headers={
            "Origin": FRIEND,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": ", ".join(headers),
        },
    )


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/theme", {"Sec-Fetch-Site": "same-origin"}, 303),
        ("/theme", {"Origin": "http://127.0.0.1"}, 303),  # by plain HTTP, browsers send only this
        ("/theme", {}, 415),
        ("/theme", {"Sec-Fetch-Site": "none"}, 415),
        ("/theme", {"Sec-Fetch-Site": "same-site"}, 403),
        ("/theme", {"Origin": "http://evil.example"}, 403),
        ("/v1/jobs", {"Sec-Fetch-Site": "same-origin"}, 415),
    ],
    ids=str,
)
def test_a_form_is_accepted_from_own_pages_by_pages_only(
    client: httpx.Client, path: str, headers: dict[str, str], status: int
) -> None:
    answer = client.post(path, data={"theme": "dark"}, headers={"Host": "127.0.0.1", **headers})

    assert answer.status_code == status
