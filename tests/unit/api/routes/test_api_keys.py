from typing import Any

import httpx
import pytest
from uuid_utils.compat import uuid7


def make(client: httpx.Client, **request: Any) -> httpx.Response:
    return client.post("/v1/api-keys", json={"name": "Ada", "scope": "admin", **request})


@pytest.fixture
def admin(client: httpx.Client) -> httpx.Client:
    """A client that sends the first key, an administrator's."""
    client.headers["Authorization"] = f"Bearer {make(client).json()['key']}"
    return client


def test_text_of_a_key_is_returned_only_once(client: httpx.Client) -> None:
    answer = make(client)
    made = answer.json()

    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Location"] == f"/v1/api-keys/{made['id']}"
    listed = client.get("/v1/api-keys", headers={"Authorization": f"Bearer {made['key']}"})
    assert listed.json()["data"] == [{name: made[name] for name in made if name != "key"}]
    assert made["key"].rpartition("_")[2] not in listed.text


def test_the_first_key_must_be_an_administrators(client: httpx.Client) -> None:
    answer = make(client, scope="submit")

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/no-administrator")
    assert client.get("/v1/api-keys").json()["data"] == []


def test_scope_of_a_key_is_read_by_default(admin: httpx.Client) -> None:
    made = admin.post("/v1/api-keys", json={"name": "wall display"}).json()

    me = admin.get("/v1/me", headers={"Authorization": f"Bearer {made['key']}"}).json()
    assert me == {
        "key_id": made["id"],
        "name": "wall display",
        "scope": "read",
        "expires_at": None,
        "team": None,
        "may_urgent": False,
    }


def test_a_key_may_expire(admin: httpx.Client) -> None:
    made = make(admin, expires_in_s=60).json()

    assert made["expires_at"] > made["created_at"]
    assert admin.get("/v1/me", headers={"Authorization": f"Bearer {made['key']}"}).status_code == 200


def test_keys_are_listed_newest_first(admin: httpx.Client) -> None:
    for name in ("second", "third"):
        make(admin, name=name)

    assert [key["name"] for key in admin.get("/v1/api-keys").json()["data"]] == ["third", "second", "Ada"]


def test_revoked_key_is_refused(admin: httpx.Client) -> None:
    made = make(admin, name="Eve").json()

    answers = [admin.delete(f"/v1/api-keys/{made['id']}") for _ in range(2)]

    assert [(answer.status_code, answer.content) for answer in answers] == [(204, b"")] * 2
    assert admin.get("/v1/me", headers={"Authorization": f"Bearer {made['key']}"}).status_code == 401
    assert admin.get("/v1/api-keys").json()["data"][0]["revoked_at"]


def test_an_unknown_key_cannot_be_revoked(admin: httpx.Client) -> None:
    answer = admin.delete(f"/v1/api-keys/{uuid7()}")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/api-key-not-found")


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "a\nb"}, {"scope": "root"}, {"expires_in_s": 0}, {"scopes": []}], ids=str
)
def test_invalid_key_request_is_refused(client: httpx.Client, wrong: dict[str, Any]) -> None:
    assert make(client, **wrong).status_code == 422


def test_a_keys_weight_and_limit_are_changed(admin: httpx.Client) -> None:
    made = make(admin, name="Eve", scope="submit", max_running=2).json()
    assert (made["weight"], made["max_running"]) == (1.0, 2)

    changed = admin.patch(f"/v1/api-keys/{made['id']}", json={"weight": 3})

    assert changed.status_code == 200
    assert changed.json() == {name: made[name] for name in made if name != "key"} | {"weight": 3.0}
    changed = admin.patch(f"/v1/api-keys/{made['id']}", json={"max_running": None})
    assert (changed.json()["weight"], changed.json()["max_running"]) == (3.0, None)


def test_an_unknown_key_is_not_changed(admin: httpx.Client) -> None:
    answer = admin.patch(f"/v1/api-keys/{uuid7()}", json={"weight": 3})
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/api-key-not-found")


def test_the_jobs_of_a_team_are_one_tenants_and_of_other_keys_their_own(admin: httpx.Client) -> None:
    tenants = []
    for team in ("red", "red", None):
        made = make(admin, name="Eve", scope="submit", team=team).json()
        headers = {"Authorization": f"Bearer {made['key']}"}
        job = admin.post("/v1/jobs", json={"kind": "train", "spec": {}}, headers=headers).json()
        tenants.append(job["tenant"])
    assert tenants == ["team red", "team red", f"key {made['id']}"]


def test_a_job_tells_the_key_that_submitted_it(admin: httpx.Client) -> None:
    made = make(admin, name="Ada", scope="submit").json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    submitted = admin.post("/v1/jobs", json={"kind": "train"}, headers=headers).json()
    assert submitted["api_key_id"] == made["id"]
    polled = admin.get(f"/v1/jobs/{submitted['id']}", headers=headers).json()
    assert (polled["api_key_id"], polled["submitted_by"]) == (made["id"], "Ada")
    [listed] = admin.get("/v1/jobs", headers=headers).json()["data"]
    assert listed["api_key_id"] == made["id"]
