"""The pages of sweeps: ranked by an objective, sorted by a parameter, cancelled as a whole."""

import re
from uuid import UUID

import httpx
import pytest

from shared.db.engine import Database
from shared.lifecycle import JobState
from tests.support import factories, queue_driver, stored

RATES = (0.001, 0.002, 0.003)


@pytest.fixture
def sweep(database: Database) -> tuple[UUID, list[UUID]]:
    """A sweep of three jobs: the second is the best by its loss, the first by its accuracy; one is queued."""
    sweep_id, ids = queue_driver.submit_sweep(database, learning_rate=RATES)
    for job_id, loss, accuracy in zip(ids, (0.5, 0.1), (0.9, 0.8), strict=False):
        attempt = queue_driver.claim(database, job_id).attempt
        epoch = factories.make_epoch(0, val_loss=loss, val_accuracy=accuracy)
        queue_driver.record_progress(database, attempt, factories.make_progress(epoch))
    return sweep_id, ids


def rows(html: str) -> list[str]:
    return re.findall(r"<tr data-key=\"([^\"]+)\"", html)


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ("?metric=val_loss", [1, 0, 2]),
        ("?metric=val_accuracy", [0, 1, 2]),
        ("?metric=val_accuracy&sort=-value", [1, 0, 2]),
        ("?sort=learning_rate", [0, 1, 2]),
        ("?sort=-learning_rate", [2, 1, 0]),
        ("?metric=val_loss&rows=1", [1]),
    ],
)
def test_jobs_are_ranked_and_sorted(
    client: httpx.Client, sweep: tuple[UUID, list[UUID]], query: str, order: list[int]
) -> None:
    sweep_id, ids = sweep

    html = client.get(f"/sweeps/{sweep_id}{query}").text

    assert rows(html) == [str(ids[index]) for index in order]


def test_the_best_is_marked_once_whatever_the_order(
    client: httpx.Client, sweep: tuple[UUID, list[UUID]]
) -> None:
    sweep_id, ids = sweep

    html = client.get(f"/sweeps/{sweep_id}?metric=val_loss&sort=-learning_rate").text

    assert re.findall(r'<tr data-key="([^"]+)" class="best">', html) == [str(ids[1])]
    assert re.findall(r'<polyline data-job="([^"]+)" class="rank-best"', html) == [str(ids[1])]
    assert html.count(">Best<") == 1


def test_a_sweep_is_listed_with_its_best_job(client: httpx.Client, database: Database) -> None:
    sweep_id, [job_id, _] = queue_driver.submit_sweep(database, epochs=(3, 4))
    attempt = queue_driver.claim(database, job_id).attempt
    queue_driver.record(database, attempt, 3)
    queue_driver.succeed(database, attempt, factories.make_model())

    html = client.get("/sweeps").text

    assert rows(html) == [str(sweep_id)]
    assert "98.00 %" in html
    assert "1/2" in html


def test_without_sweeps_the_command_is_shown(client: httpx.Client) -> None:
    assert "trainshed sweep submit --param" in client.get("/sweeps").text


def test_all_unfinished_jobs_are_cancelled(
    client: httpx.Client, database: Database, sweep: tuple[UUID, list[UUID]]
) -> None:
    sweep_id, ids = sweep
    assert "Stop the 3 unfinished jobs of this sweep?" in client.get(f"/sweeps/{sweep_id}").text

    answer = client.post(f"/sweeps/{sweep_id}/cancel", headers={"Sec-Fetch-Site": "same-origin"})

    assert (answer.status_code, answer.headers["Location"]) == (303, f"/sweeps/{sweep_id}")
    assert stored.state(database, ids[2]) is JobState.CANCELLED
    running = stored.detail(database, ids[0])
    assert running.cancel_requested_at is not None


def test_a_sweep_that_does_not_exist_is_not_found(client: httpx.Client) -> None:
    assert client.get(f"/sweeps/{UUID(int=0)}").status_code == 404
    assert client.get("/sweeps/nothing").status_code == 422
