"""Errors as pages for browsers that ask for a page; programs get problem documents."""

from collections.abc import Iterator

import httpx
import pytest

from api.app import create_app
from shared.settings import Settings
from tests.support.servers import running_app

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def guarded(settings: Settings, database_url: str) -> Iterator[httpx.Client]:
    """A client without a key of an API that needs one."""
    own = {**settings.model_dump(), "database_url": database_url, "api_keys": "k" * 16}
    with running_app(create_app(Settings.model_validate(own))) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/nothing/<b>", "There is no such page"),
        ("/jobs/0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f", "deleted this job"),
        ("/jobs/not-an-id", "There is no such page"),
    ],
)
def test_what_is_missing_is_a_page_that_helps(client: httpx.Client, path: str, says: str) -> None:
    answer = client.get(path, headers=BROWSER)

    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert says in answer.text
    assert "<b>" not in answer.text
    assert answer.headers["X-Request-ID"] in answer.text
    assert "default-src" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("path", "headers"), [("/nothing", {}), ("/v1/nothing", BROWSER), ("/static/0/x", BROWSER)], ids=str
)
def test_programs_and_the_api_get_problem_documents(
    client: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    answer = client.get(path, headers=headers)

    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


def test_an_invalid_filter_is_a_page_that_names_it(client: httpx.Client) -> None:
    answer = client.get("/jobs?state=lost", headers=BROWSER)

    assert answer.status_code == 422
    assert "state: " in answer.text


def test_a_page_of_another_site_gets_a_page(client: httpx.Client) -> None:
    answer = client.post(
        "/theme", data={"theme": "dark"}, headers={**BROWSER, "Origin": "http://evil.example"}
    )

    assert (answer.status_code, answer.headers["Content-Type"]) == (403, "text/html; charset=utf-8")


def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(guarded: httpx.Client) -> None:
    answer = guarded.get("/jobs?state=failed", headers=BROWSER)

    assert answer.status_code == 303
    assert answer.headers["Location"] == "/sign-in?next=/jobs%3Fstate%3Dfailed"
    assert "default-src" in answer.headers["Content-Security-Policy"]
    assert guarded.get("/v1/jobs", headers=BROWSER).status_code == 401


def test_a_database_that_is_away_is_a_page(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": f"postgresql+psycopg://@/x?host={settings.data_dir}"})
    with running_app(create_app(away)) as client:
        answer = client.get("/jobs", headers=BROWSER)

    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert "nothing is lost" in answer.text
