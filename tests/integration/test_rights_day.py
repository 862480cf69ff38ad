"""A day of people with keys, of two teams, and an administrator: API, pages and command line."""

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from api.http.callers import KEY_COOKIE, as_cookie
from shared.db.engine import Database
from tests.support import queue_driver
from tests.support.factories import make_model
from trainshed import Client
from trainshed.cli.main import app
from trainshed.errors import TrainshedApiError

_OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
_TRAIN = ("train", "--dataset", "digits", "--epochs", 1, "--detach")


class _Person:
    """Someone with a key, who uses the command line, the Python client and the pages."""

    def __init__(self, url: str, key: str) -> None:
        self.server = Client(url, api_key=key)
        self._key = key
        cookie = {"Cookie": f"{KEY_COOKIE.decode()}={as_cookie(key.encode())}"}
        self.browser = httpx.Client(base_url=url, headers={**_OWN_PAGE, **cookie})

    def try_(self, *arguments: object) -> Result:
        words = ["--api-key", self._key, *map(str, arguments)]
        return CliRunner().invoke(
            app, words, obj=lambda _url, **_options: Client(self.server.url, **_options)
        )

    def run(self, *arguments: object) -> str:
        result = self.try_(*arguments)
        assert result.exit_code == 0, result.output
        return result.output

    def json(self, *arguments: object) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def close(self) -> None:
        self.server.close()
        self.browser.close()


class _People:
    """The people, by name; the administrator makes their keys by the command line."""

    def __init__(self, api: httpx.Client) -> None:
        self._url = str(api.base_url)
        first = api.post("/v1/api-keys", json={"name": "Grace", "scope": "admin"}).json()["key"]
        self.grace = _Person(self._url, first)
        self.ann, self.bob, self.eve = (
            self._with_key(name, team)
            for name, team in (("Ann", "vision"), ("Bob", "vision"), ("Eve", "speech"))
        )

    def _with_key(self, name: str, team: str) -> _Person:
        made = self.grace.json("keys", "create", name, "--scope", "submit", "--team", team)
        assert (made["team"], made["may_urgent"]) == (team, False)
        return _Person(self._url, made["key"])

    def close(self) -> None:
        for person in (self.grace, self.ann, self.bob, self.eve):
            person.close()


@pytest.fixture
def people(api: httpx.Client) -> Iterator[_People]:
    people = _People(api)
    yield people
    people.close()


def _who(person: _Person, job_id: str) -> list[tuple[str, str]]:
    """What happened to a job, and by whom."""
    events = person.json("events", job_id)
    return [(event["type"], event["data"].get("by", {}).get("name")) for event in events]


def test_the_command_line_changes_ones_own_and_ones_teams(people: _People) -> None:
    anns, eves = people.ann.json(*_TRAIN)["id"], people.eve.json(*_TRAIN)["id"]

    refused = people.eve.try_("cancel", anns)
    assert refused.exit_code != 0
    assert f"job {anns} belongs to the key 'Ann' of the team 'vision'" in " ".join(refused.output.split())
    swept = people.eve.run("cancel", "--state", "queued", "--yes")
    assert "1 job cancelled" in swept
    assert "1 job belongs to others, and stays as it is." in swept
    people.bob.run("edit", anns, "--name", "after lunch")
    people.grace.run("cancel", "--mine", "--yes")

    assert _who(people.eve, anns) == [("submitted", "Ann"), ("edited", "Bob")]
    assert _who(people.ann, eves) == [("submitted", "Eve"), ("cancelled", "Eve")]
    assert "by Bob" in people.eve.run("events", anns)
    assert [job["id"] for job in people.ann.json("jobs", "--mine")] == [anns]
    assert [job["id"] for job in people.ann.json("jobs", "--submitted-by", "Eve")] == [eves]
    assert [job["submitted_by"] for job in people.ann.json("jobs")] == ["Eve", "Ann"]
    assert re.search(r"\bBy\b", people.bob.run("jobs"))
    people.ann.run("delete", "--state", "cancelled", "--yes")
    assert people.eve.json("delete", "--mine", "--yes") == {"deleted": [eves], "failed": []}


def test_urgent_jobs_are_for_those_to_whom_an_administrator_gives_the_right(people: _People) -> None:
    refused = people.eve.try_(*_TRAIN, "--priority", "urgent")
    assert refused.exit_code != 0
    assert "the key 'Eve' may not give jobs the priority `urgent`" in " ".join(refused.output.split())
    waiting = people.eve.json(*_TRAIN)["id"]
    with pytest.raises(TrainshedApiError, match="urgent"):
        people.eve.server.edit(waiting, priority="urgent")
    with pytest.raises(TrainshedApiError, match="urgent"):
        people.eve.server.clone(waiting, priority="urgent")
    sweep = people.eve.try_("sweep", "submit", "-p", "seed=1,2", "--priority", "urgent")
    assert (sweep.exit_code != 0, "`urgent`" in sweep.output) == (True, True)
    graces = people.grace.json(*_TRAIN, "--priority", "urgent")["id"]
    people.grace.run("cancel", graces)
    with pytest.raises(TrainshedApiError, match="urgent"):
        people.eve.server.retry(graces)
    [in_batch] = people.eve.server.batch("retry", [graces])
    assert (in_batch.status, in_batch.new_id) == (403, None)

    key_id = people.eve.server.me().key_id
    assert "submit urgent jobs" in people.grace.run("keys", "change", key_id, "--urgent")
    assert people.grace.json("keys", "list")[0]["may_urgent"]
    assert people.eve.json(*_TRAIN, "--priority", "urgent")["priority"] == "urgent"
    assert people.grace.json(*_TRAIN, "--priority", "urgent")["submitted_by"] == "Grace"


def test_a_repeated_request_for_an_urgent_job_is_answered_with_it_after_its_key_lost_the_right(
    people: _People,
) -> None:
    graces, key_id = people.grace.json(*_TRAIN, "--priority", "urgent")["id"], people.eve.server.me().key_id
    people.grace.run("cancel", graces)
    requests = [
        partial(people.eve.server.retry, graces, idempotency_key="retry"),
        partial(people.eve.server.clone, graces, idempotency_key="clone"),
    ]
    people.grace.run("keys", "change", key_id, "--urgent")
    first = [request().id for request in requests]
    people.grace.run("keys", "change", key_id, "--no-urgent")
    assert [request().id for request in requests] == first


def test_others_jobs_can_be_built_upon(people: _People) -> None:
    anns = people.ann.json(*_TRAIN)["id"]
    people.ann.run("cancel", anns)
    retried, cloned = people.eve.server.retry(anns), people.eve.server.clone(anns, epochs=2)
    assert {retried.submitted_by, cloned.submitted_by} == {"Eve"}
    assert _who(people.ann, str(retried.id)) == [("submitted", "Eve")]
    people.eve.run("cancel", retried.id)
    after = people.ann.json(*_TRAIN, "--after", cloned.id)
    assert after["submitted_by"] == "Ann"


def test_sweeps_are_their_submitters(people: _People) -> None:
    swept = ("sweep", "submit", "-p", "seed=1,2", "--dataset", "digits")
    anns, eves = people.ann.json(*swept)["id"], people.eve.json(*swept)["id"]
    assert people.eve.try_("sweep", "cancel", anns).exit_code != 0
    assert people.bob.json("sweep", "cancel", anns)["states"] == {"cancelled": 2}
    assert [sweep["id"] for sweep in people.eve.json("sweep", "list", "--mine")] == [eves]
    assert people.eve.json("models", "--mine") == []
    assert people.eve.browser.post(f"/sweeps/{anns}/cancel").status_code == 403
    assert "Cancel all" in people.eve.browser.get(f"/sweeps/{eves}").text
    assert "Cancel all" not in people.bob.browser.get(f"/sweeps/{eves}").text
    page = people.eve.browser.get("/sweeps?submitted_by=me").text
    assert (f"/sweeps/{eves}" in page, f"/sweeps/{anns}" in page) == (True, False)


def test_models_are_changed_by_those_who_trained_them(people: _People, database: Database) -> None:
    attempt, model = queue_driver.running(database, key_id=people.ann.server.me().key_id), make_model()
    queue_driver.succeed(database, attempt, model)
    assert people.eve.try_("model", model.id, "--alias", "champion").exit_code != 0
    for form in ("edit", "delete"):
        answer = people.eve.browser.post(f"/models/{model.id}/{form}", data={"alias": "champion"})
        assert answer.status_code == 403, form
    assert people.ann.server.model(model.id).alias is None

    people.bob.run("model", model.id, "--alias", "champion")
    assert people.ann.server.model("champion").id == model.id
    assert people.bob.browser.post(f"/models/{model.id}/edit", data={"alias": ""}).status_code == 303
    assert people.bob.browser.post(f"/models/{model.id}/delete").status_code == 303


def test_the_log_names_the_key_that_deleted_a_job(people: _People, caplog: pytest.LogCaptureFixture) -> None:
    job_id = people.ann.json(*_TRAIN)["id"]
    people.ann.run("cancel", job_id)
    with caplog.at_level("INFO"):
        people.bob.run("delete", job_id, "--yes")
    [line] = [record for record in caplog.records if "deleted a job" in record.getMessage()]
    assert (job_id in line.getMessage(), "Bob" in line.getMessage()) == (True, True)


def test_pages_offer_and_do_what_the_key_may(people: _People) -> None:
    job_id = people.ann.json(*_TRAIN)["id"]
    buttons = {
        name: re.findall(rf'action="/jobs/{job_id}/(\w+)"', person.browser.get(f"/jobs/{job_id}").text)
        for name, person in (("ann", people.ann), ("bob", people.bob), ("eve", people.eve))
    }
    assert buttons == {"ann": ["cancel", "edit"], "bob": ["cancel", "edit"], "eve": []}
    assert "<dt>Submitted by</dt><dd>Ann</dd>" in people.eve.browser.get(f"/jobs/{job_id}").text
    for form in ("cancel", "delete", "edit"):
        answer = people.eve.browser.post(f"/jobs/{job_id}/{form}", data={"name": "theirs"})
        assert answer.status_code == 403, form
    row = re.search(rf'<tr data-key="{job_id}"[^>]*>', people.eve.browser.get("/jobs").text)
    assert row is not None
    assert "data-others" in row[0]
    assert "data-others" not in people.bob.browser.get("/jobs").text
    assert job_id in people.bob.browser.get("/jobs?submitted_by=Ann").text
    assert job_id not in people.bob.browser.get("/jobs?submitted_by=me").text

    assert people.bob.browser.post(f"/jobs/{job_id}/edit", data={"name": "ours"}).status_code == 303
    assert people.grace.browser.post(f"/jobs/{job_id}/cancel").status_code == 303
    timeline = people.eve.browser.get(f"/jobs/{job_id}?tab=timeline").text
    assert "name: ours, by Bob" in timeline
    assert "It was cancelled, by Grace" in timeline
    assert people.bob.browser.post(f"/jobs/{job_id}/delete").status_code == 303


def test_the_settings_page_gives_teams_and_the_right_to_urgent_jobs(people: _People) -> None:
    key_id = people.eve.server.me().key_id
    fields = {"weight": "1", "max_running": "", "team": "vision", "may_urgent": "on"}
    assert people.grace.browser.post(f"/settings/keys/{key_id}/change", data=fields).status_code == 303
    assert (people.eve.server.me().team, people.eve.server.me().may_urgent) == ("vision", True)
    made = people.grace.browser.post("/settings/keys", data={"name": "Dan", "scope": "submit", "team": "x"})
    assert made.status_code == 200
    assert people.grace.json("keys", "list")[0]["team"] == "x"
