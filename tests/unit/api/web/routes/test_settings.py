"""The settings: keys for administrators, versions and links for everyone."""

import re

import httpx
import pytest

from shared.db.engine import Database
from tests.support import registry, stored
from tests.support.registry import NewApiKey

OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


def create(client: httpx.Client, **fields: str) -> httpx.Response:
    return client.post("/settings/keys", data={"name": "Ada", "scope": "admin", **fields}, headers=OWN_PAGE)


def key_in(html: str) -> str:
    [key] = set(re.findall(r"ts_[0-9a-f]{32}_[0-9a-f]{64}", html))
    return str(key)


def test_a_key_is_shown_once_and_signs_in(client: httpx.Client) -> None:
    answer = create(client)

    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    key = key_in(answer.text)
    page = client.get("/settings", headers={"Authorization": f"Bearer {key}"})
    assert page.status_code == 200
    assert "Ada" in page.text
    assert key not in page.text


def test_the_first_key_must_be_an_administrators(client: httpx.Client) -> None:
    answer = create(client, scope="read")

    assert answer.status_code == 409
    assert "nobody could create another" in answer.text


@pytest.mark.parametrize(
    ("field", "value"), [("name", " "), ("scope", "root"), ("expires_in_s", "9" * 20)], ids=str
)
def test_an_invalid_field_is_explained_and_the_others_are_kept(
    client: httpx.Client, field: str, value: str
) -> None:
    answer = create(client, **{"name": "Grace", field: value})

    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    assert field == "name" or 'value="Grace"' in answer.text


def test_a_key_is_revoked(client: httpx.Client, database: Database) -> None:
    admin = key_in(create(client).text)
    headers = {**OWN_PAGE, "Authorization": f"Bearer {admin}"}
    other = registry.api_key(database, "other")

    answer = client.post(f"/settings/keys/{other.id}/revoke", data={}, headers=headers)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/settings#keys")
    assert "Revoked" in client.get("/settings", headers=headers).text


def test_who_is_no_administrator_sees_no_keys(client: httpx.Client, database: Database) -> None:
    create(client)
    key = registry.api_key(database, "a reader")
    headers = {**OWN_PAGE, "Authorization": f"Bearer {key}"}

    html = client.get("/settings", headers=headers).text

    assert "a reader" in html
    assert "Ada" not in html
    assert "Create key" not in html
    assert client.post("/settings/keys", data={"name": "x"}, headers=headers).status_code == 403


def test_it_names_versions_and_where_to_read_more(client: httpx.Client) -> None:
    html = client.get("/settings").text

    assert all(text in html for text in ("Trainshed", "Python", "SQLAlchemy", "/docs", "/metrics", "/readyz"))


def test_a_keys_weight_and_limit_are_changed(client: httpx.Client, database: Database) -> None:
    headers = {**OWN_PAGE, "Authorization": f"Bearer {key_in(create(client).text)}"}
    other = registry.api_key(database, "other")
    address = f"/settings/keys/{other.id}/change"

    for weight, limit, kept in (("2.5", "3", (2.5, 3)), ("1", "", (1.0, None))):
        answer = client.post(address, data={"weight": weight, "max_running": limit}, headers=headers)

        assert (answer.status_code, answer.headers["Location"]) == (303, "/settings#keys")
        key = stored.api_key(database, other.id)
        assert (key.weight, key.max_running) == kept


@pytest.mark.parametrize(
    ("field", "entered"), [("weight", "0"), ("weight", ""), ("max_running", "0"), ("max_running", "few")]
)
def test_an_impossible_change_of_a_key_is_explained_in_its_row(
    client: httpx.Client, database: Database, field: str, entered: str
) -> None:
    headers = {**OWN_PAGE, "Authorization": f"Bearer {key_in(create(client).text)}"}
    other = registry.api_key(database, "other")
    fields = {"weight": "2", "max_running": "2", field: entered}

    answer = client.post(f"/settings/keys/{other.id}/change", data=fields, headers=headers)

    assert answer.status_code == 422
    row = answer.text.partition(f'<tr data-key="{other.id}">')[2].partition("</tr>")[0]
    assert f'id="{field}-of-{other.id}">must be ' in row
    assert '<details class="inline-edit" open>' in row
    assert answer.text.count("field-error") == 1


def test_a_key_that_is_not_there_is_not_changed(client: httpx.Client) -> None:
    headers = {**OWN_PAGE, "Authorization": f"Bearer {key_in(create(client).text)}"}
    address = f"/settings/keys/{NewApiKey.draw().id}/change"

    assert client.post(address, data={"weight": "1"}, headers=headers).status_code == 404
