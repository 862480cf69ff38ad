"""Pages of other web sites are kept out; programs and our own pages are not."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from api.app import create_app
from shared.settings import Settings
from tests.support.servers import running_app

Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve(settings: Settings, database_url: str) -> Iterator[Serve]:
    """Serves the API with settings of the test's; gives a client of it."""
    with ExitStack() as servers:

        def serve(**values: Any) -> httpx.Client:
            own = Settings.model_validate({**settings.model_dump(), "database_url": database_url, **values})
            return servers.enter_context(running_app(create_app(own)))

        yield serve


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:9"])
def test_this_hosts_own_names_are_known(client: httpx.Client, host: str) -> None:
    assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[", ""]
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/livez", "/docs"])
def test_any_other_name_is_refused(client: httpx.Client, host: str, path: str) -> None:
    answer = client.get(path, headers={"Host": host})

    assert answer.status_code in (400, 421)  # 400: h11 itself has read that it is no host
    if answer.status_code == 421:
        assert answer.json()["type"] == "/problems/wrong-host"


def test_a_name_that_the_settings_allow_is_known(serve: Serve) -> None:
    client = serve(allowed_hosts="train.example.org")

    assert client.get("/livez", headers={"Host": "train.example.org"}).status_code == 200
    assert client.get("/livez", headers={"Host": "evil.example"}).status_code == 421


def test_beyond_loopback_any_name_is_known_unless_some_are_listed(serve: Serve) -> None:
    anywhere = {"host": "0.0.0.0", "api_keys": "x" * 16}

    assert serve(**anywhere).get("/livez", headers={"Host": "example.org"}).status_code == 200
    listed = serve(**anywhere, allowed_hosts="example.org")
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
def test_a_page_of_another_site_can_change_nothing(client: httpx.Client, headers: dict[str, str]) -> None:
    job = client.post("/v1/jobs", json={"kind": "train"}).json()

    for path in (f"/v1/jobs/{job['id']}/cancel", f"/v1/jobs/{job['id']}/retry", "/v1/jobs"):
        answer = client.post(path, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/cross-site")

    assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded; charset=utf-8"])
def test_a_form_is_refused_also_where_the_browser_does_not_say_whose_it_is(
    client: httpx.Client, content_type: str
) -> None:
    job = client.post("/v1/jobs", json={"kind": "train"}).json()

    answer = client.post(f"/v1/jobs/{job['id']}/cancel", headers={"Content-Type": content_type}, content="a")

    assert answer.status_code == 415
    assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued"


def test_our_own_pages_and_programs_may_change_things(client: httpx.Client) -> None:
    for headers in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": str(client.base_url)}):
        assert client.post("/v1/jobs", json={"kind": "train"}, headers=headers).status_code == 202


def test_by_default_no_other_sites_page_may_read(client: httpx.Client) -> None:
    answer = client.get("/v1/jobs", headers={"Origin": "https://evil.example"})

    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_site_that_the_settings_name_may_read_and_change(serve: Serve) -> None:
    client, friend = serve(cors_origins="https://friend.example"), {"Origin": "https://friend.example"}

    asked = client.options("/v1/jobs", headers={**friend, "Access-Control-Request-Method": "POST"})
    assert asked.headers["Access-Control-Allow-Origin"] == "https://friend.example"
    made = client.post("/v1/jobs", json={"kind": "train"}, headers={**friend, "Sec-Fetch-Site": "cross-site"})
    assert made.status_code == 202
    assert "Location" in made.headers["Access-Control-Expose-Headers"]
    other = client.post("/v1/jobs", json={"kind": "train"}, headers={"Origin": "https://evil.example"})
    assert other.status_code == 403
