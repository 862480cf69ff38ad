"""The pages of the workers and queues, and their forms."""

import re
from datetime import timedelta

import httpx
import pytest

from shared.db.clock import database_now
from shared.db.engine import Database
from shared.lifecycle import WorkerState
from tests.support import queue_driver, registry, stored

OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


def test_workers_are_shown_with_what_they_run_and_since_when_they_are_silent(
    client: httpx.Client, database: Database
) -> None:
    registry.worker(database, devices=["a GPU"], slots=2, memory_bytes=1_940_000_000)
    registry.worker(database, id="gone:1", heartbeat_at=database_now(-timedelta(minutes=58).total_seconds()))
    queue_driver.running(database, name="the running one")

    html = client.get("/workers").text

    assert all(text in html for text in ("worker-1", "a GPU", "1 of 2", "the running one", "Lost"))
    assert "58 min ago" in html
    assert html.count("1.9 GB") == 1


def test_without_a_worker_the_page_says_how_to_start_one(client: httpx.Client, database: Database) -> None:
    registry.worker(database, state="stopped")

    html = client.get("/workers").text

    assert "No worker is online" in html
    assert "trainshed worker --check" in html


def test_queues_are_shown_with_their_load(client: httpx.Client, database: Database) -> None:
    queue_driver.submit(database, queue="night", priority="high")
    registry.pause(database, "night")

    html = client.get("/workers").text

    assert "/jobs?queue=night&amp;state=queued" in html
    assert "Paused" in html
    assert "/workers/queues/night/resume" in html


def test_a_worker_is_drained_and_undrained_and_the_page_of_the_form_is_shown(
    client: httpx.Client, database: Database
) -> None:
    name = registry.worker(database)

    for action, state in (("drain", WorkerState.DRAINING), ("undrain", WorkerState.ONLINE)):
        address = f"/workers/{name}/{action}?back=/workers/{name}"
        answer = client.post(address, data={"idempotency_key": "k"}, headers=OWN_PAGE)

        assert (answer.status_code, answer.headers["Location"]) == (303, f"/workers/{name}")
        assert stored.worker(database, name).state is state


def test_a_form_leads_to_no_other_site(client: httpx.Client, database: Database) -> None:
    name = registry.worker(database)

    answer = client.post(f"/workers/{name}/drain?back=//evil.example", data={}, headers=OWN_PAGE)

    assert answer.headers["Location"] == "/"


def test_a_queue_is_paused_and_resumed(client: httpx.Client, database: Database) -> None:
    for action, is_paused in (("pause", True), ("resume", False)):
        answer = client.post(f"/workers/queues/night/{action}", data={}, headers=OWN_PAGE)

        assert answer.headers["Location"] == "/workers#queues"
        assert stored.queue(database, "night").paused is is_paused


@pytest.mark.parametrize(
    ("state", "says"),
    [("online", "Drain"), ("draining", "takes no more jobs"), ("stopped", "starts it again")],
)
def test_a_workers_page_says_what_its_state_means(
    client: httpx.Client, database: Database, state: str, says: str
) -> None:
    queue_driver.running(database, name="its job")
    queue_driver.claim(database, queue_driver.submit(database, name="another"), worker="gpu:7")
    registry.worker(database, id="gpu:7", state=state, versions={"trainshed": "9.8.7"})

    html = client.get("/workers/gpu:7").text

    assert all(text in html for text in (says, "9.8.7", "another"))
    assert "its job" not in html


def test_a_workers_page_has_its_history_in_pages(client: httpx.Client, database: Database) -> None:
    name = registry.worker(database)
    queue_driver.failed(database, name="failed there")
    queue_driver.running(database, name="runs there")

    newest = client.get(f"/workers/{name}?limit=1").text
    [cursor] = re.findall(r"\?cursor=([^#]+)#history", newest)
    older = client.get(f"/workers/{name}?limit=1&cursor={cursor}").text

    history = [html.partition('id="history"')[2] for html in (newest, older)]
    assert "runs there" in history[0]
    assert "failed there" not in history[0]
    assert all(text in history[1] for text in ("failed there", "Failed", "Internal", "it broke"))


def test_a_worker_that_is_not_listed_any_more_is_a_page_that_says_why(client: httpx.Client) -> None:
    answer = client.get("/workers/gone", headers={"Accept": "text/html"})

    assert answer.status_code == 404
    assert "deleted after a day" in answer.text


def test_of_a_worker_that_is_gone_its_history_is_shown(client: httpx.Client, database: Database) -> None:
    queue_driver.running(database, name="what it ran")

    html = client.get("/workers/worker-1").text

    assert "This worker is gone" in html
    assert "what it ran" in html
    assert client.get("/workers/never-there").status_code == 404


def test_a_queue_is_limited_and_an_empty_field_removes_the_limit(
    client: httpx.Client, database: Database
) -> None:
    queue_driver.submit(database, queue="night")
    for entered, limit in (("3", 3), ("", None)):
        answer = client.post("/workers/queues/night/limit", data={"max_running": entered}, headers=OWN_PAGE)

        assert (answer.status_code, answer.headers["Location"]) == (303, "/workers#queues")
        assert stored.queue(database, "night").max_running == limit
        assert ("0 of 3" in client.get("/workers").text) is (limit is not None)


@pytest.mark.parametrize("entered", ["0", "many", "2.5"])
def test_an_impossible_limit_is_explained_where_it_was_entered(
    client: httpx.Client, database: Database, entered: str
) -> None:
    queue_driver.submit(database, queue="night")

    answer = client.post("/workers/queues/night/limit", data={"max_running": entered}, headers=OWN_PAGE)

    assert answer.status_code == 422
    form = answer.text.partition('action="/workers/queues/night/limit"')[2].partition("</form>")[0]
    assert all(text in form for text in (f'value="{entered}"', 'aria-invalid="true"', "must be "))
    assert answer.text.count("limit-error") == 2  # at the field, and nowhere else
    assert stored.queue(database, "night").max_running is None
