"""The page of a job, and its actions as forms."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest

from api.web.routes.job import TABS
from shared.db.engine import Database
from shared.errors import JobNotFound
from shared.lifecycle import JobState
from shared.schemas import Priority
from tests.support import factories, queue_driver, registry, stored

OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}


def submit(client: httpx.Client, job_id: UUID, action: str, **fields: str) -> httpx.Response:
    return client.post(f"/jobs/{job_id}/{action}", data={"idempotency_key": "k", **fields}, headers=OWN_PAGE)


@pytest.mark.parametrize("tab", [*TABS, "unknown"])
def test_every_tab_is_shown_for_a_job_in_any_state(
    client: httpx.Client, database: Database, tab: str
) -> None:
    for job_id in queue_driver.one_of_each_state(database).values():
        answer = client.get(f"/jobs/{job_id}?tab={tab}")

        assert answer.status_code == 200
        assert answer.text.count('aria-current="page"') == 2  # in the navigation and among the tabs


def test_what_a_job_ran_with_is_shown_with_it_and_its_model(client: httpx.Client, database: Database) -> None:
    versions, model = {"trainshed": "0.1.0", "commit": "0123abcd"}, factories.make_model()
    attempt = queue_driver.claim(database, queue_driver.submit(database), versions=versions).attempt
    progress = factories.make_progress(factories.make_epoch(), dataset_sha256="f" * 64)
    queue_driver.record_progress(database, attempt, progress)
    queue_driver.succeed(database, attempt, model)
    for text in ("Trainshed", "0.1.0", "Commit", "0123abcd", "Dataset SHA-256", "f" * 64):
        assert text in client.get(f"/jobs/{attempt.job_id}?tab=config").text
        assert text in client.get(f"/models/{model.id}").text


def test_a_job_is_cancelled(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.submit(database)

    answer = submit(client, job_id, "cancel")

    assert (answer.status_code, answer.headers["Location"]) == (303, f"/jobs/{job_id}")
    assert stored.state(database, job_id) is JobState.CANCELLED


def test_a_second_click_submits_nothing(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.failed(database)

    first, second = submit(client, job_id, "retry"), submit(client, job_id, "retry")

    assert first.headers["Location"] == second.headers["Location"] != f"/jobs/{job_id}"
    assert client.get(first.headers["Location"]).status_code == 200


def test_a_job_is_deleted(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.failed(database)

    assert submit(client, job_id, "delete").headers["Location"] == "/jobs"
    with pytest.raises(JobNotFound):
        stored.state(database, job_id)


def test_what_is_not_possible_is_refused(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.running(database).job_id

    assert submit(client, job_id, "delete").status_code == 409
    assert submit(client, job_id, "retry").status_code == 409


@pytest.mark.parametrize("action", ["cancel", "retry", "clone", "delete"])
def test_pages_of_other_sites_change_nothing(client: httpx.Client, database: Database, action: str) -> None:
    job_id = queue_driver.failed(database)

    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
        answer = client.post(f"/jobs/{job_id}/{action}", data={"a": "b"}, headers=headers)
        assert answer.status_code in (403, 415)
    assert stored.state(database, job_id) is JobState.FAILED


def test_a_queued_job_is_edited(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.submit(database, name="old", tags=["with, comma"])
    changes = {"name": "new", "tags": "with, comma", "queue": "night", "priority": "high"}

    answer = submit(client, job_id, "edit", **changes)

    assert (answer.status_code, answer.headers["Location"]) == (303, f"/jobs/{job_id}")
    job = stored.detail(database, job_id)
    assert (job.name, job.queue, job.priority) == ("new", "night", Priority.HIGH)
    assert job.tags == ("with, comma",)  # not split, since the field was left as it was
    submit(client, job_id, "edit", name=" ", tags="a, b")
    job = stored.detail(database, job_id)
    assert (job.name, job.tags, job.queue) == (None, ("a", "b"), "night")


def test_a_finished_job_is_renamed_and_offers_no_queue(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.failed(database)
    form = client.get(f"/jobs/{job_id}").text.partition(f'action="/jobs/{job_id}/edit"')[2]
    assert 'name="tags"' in form
    assert 'name="priority"' not in form

    submit(client, job_id, "edit", name="renamed", queue="default", priority="normal")

    assert stored.detail(database, job_id).name == "renamed"
    refused = submit(client, job_id, "edit", priority="urgent")
    assert (refused.status_code, stored.detail(database, job_id).priority) == (409, Priority.NORMAL)


@pytest.mark.parametrize(("field", "entered"), [("queue", "Not Possible"), ("tags", "x" * 65)])
def test_an_impossible_edit_is_explained_where_it_was_entered(
    client: httpx.Client, database: Database, field: str, entered: str
) -> None:
    job_id = queue_driver.submit(database, name="kept")

    answer = submit(client, job_id, "edit", name="kept too", **{field: entered})

    assert answer.status_code == 422
    form = answer.text.partition(f'action="/jobs/{job_id}/edit"')[2].partition("</form>")[0]
    assert all(text in form for text in (f'id="{field}-error"', f'value="{entered}"', 'value="kept too"'))
    assert stored.detail(database, job_id).name == "kept"


def test_a_job_that_waits_says_for_which_job_or_until_when(client: httpx.Client, database: Database) -> None:
    first = queue_driver.submit(database, name="the first")
    second = queue_driver.submit(database, after=(first,))
    later = queue_driver.submit(database, earliest_at=datetime.now(UTC) + timedelta(hours=3, minutes=1))
    registry.worker(database, queues=["default"])

    html = client.get(f"/jobs/{second}").text

    before = html.partition("<dt>Runs after</dt>")[2].partition("</dd>")[0]
    assert all(text in before for text in (f"/jobs/{first}", "the first", "Queued"))
    assert "Runs after" not in client.get(f"/jobs/{first}").text
    assert "in 3 h" in client.get(f"/jobs/{later}").text.partition("<dt>Starts</dt>")[2].partition("</dd>")[0]
