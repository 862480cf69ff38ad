"""The tab `training`: curves without JavaScript, the newest epochs, other jobs."""

import re
from uuid import UUID

import httpx
import pytest

from shared.db.engine import Database
from shared.lifecycle import JobKind
from tests.support import factories, queue_driver


def show(client: httpx.Client, job_id: UUID, query: str = "") -> str:
    answer = client.get(f"/jobs/{job_id}?tab=training{query}")
    assert answer.status_code == 200
    return answer.text


def overlaid(html: str) -> list[str]:
    """The ids of the jobs whose curves are shown, the job's own first."""
    return re.findall(r'data-curves-of="([^"]+)"', html)


def test_without_a_script_the_curves_are_there(client: httpx.Client, database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.record(database, attempt, 3)
    html = show(client, attempt.job_id)
    points = re.findall(r'<polyline[^>]* points="([^"]+)"', html)
    assert [len(curve.split()) for curve in points] == [6, 6, 3, 3, 3, 3]
    assert "33.33 %" not in html
    assert "83.33 %" in html  # the accuracy of the third epoch


def test_a_part_has_the_newest_epochs_only(client: httpx.Client, database: Database) -> None:
    attempt = queue_driver.running(database, spec=factories.make_spec(epochs=30))
    queue_driver.record(database, attempt, 25)
    html = show(client, attempt.job_id, "&part=live")
    assert re.findall(r'<tr data-key="(\d+)">', html) == [str(epoch) for epoch in range(25, 15, -1)]
    assert "The newest 10 of 25" in html
    assert "polyline" not in html
    assert overlaid(html) == []


def test_other_training_jobs_are_overlaid_and_what_is_none_is_left_out(
    client: httpx.Client, database: Database
) -> None:
    model = factories.make_model()
    own = queue_driver.running(database)
    queue_driver.succeed(database, own, model)
    others = [queue_driver.submit(database) for _ in range(5)]
    evaluation = queue_driver.submit(
        database, kind=JobKind.EVALUATE, spec=factories.make_evaluate_spec(model.id)
    )
    unknown = UUID(int=7)
    named = ",".join(map(str, (own.job_id, unknown, "no id", evaluation, others[0], others[0])))
    assert overlaid(show(client, own.job_id, f"&with={named}")) == [str(own.job_id), str(others[0])]
    all_of_them = "".join(f"&with={other}" for other in others)
    assert overlaid(show(client, own.job_id, all_of_them)) == [str(own.job_id), *map(str, others[:4])]


def test_the_page_follows_all_jobs_only_if_another_one_may_change(
    client: httpx.Client, database: Database
) -> None:
    own = queue_driver.running(database)
    finished, _ = queue_driver.succeeded(database)
    assert f'content="/v1/jobs/{own.job_id}/stream"' in show(client, own.job_id, f"&with={finished}")
    assert 'content="/v1/stream"' in show(client, finished, f"&with={own.job_id}")


@pytest.mark.parametrize("state", ["queued", "failed"])
def test_a_job_without_epochs_says_why(client: httpx.Client, database: Database, state: str) -> None:
    queued, failed = queue_driver.submit(database), queue_driver.failed(database)
    words = {"queued": "no worker of its queue is online", "failed": "ended before its first epoch"}
    assert words[state] in show(client, queued if state == "queued" else failed)


def test_an_evaluation_has_no_curves_and_shows_its_results_first(
    client: httpx.Client, database: Database
) -> None:
    _, model = queue_driver.succeeded(database)
    job_id = queue_driver.submit(database, kind=JobKind.EVALUATE, spec=factories.make_evaluate_spec(model.id))
    assert "This job trains nothing" in show(client, job_id)
    assert "training.js" not in show(client, job_id)
    assert '<section class="tab" id="evaluation"' in client.get(f"/jobs/{job_id}").text
