"""The tab with the evaluation: shades of the matrix, images of a cell, evaluations of old versions."""

from uuid import UUID

import httpx
import numpy as np
import pytest

from api.web.tabs.evaluation import MAX_SHADE, matrix
from shared.db.engine import Database
from shared.formats.classification import classification
from shared.formats.results import Produced
from tests.support import factories, queue_driver, stored


@pytest.fixture
def job_id(database: Database) -> UUID:
    """A job whose model took one of five nines (test image 7) for a four, with a probability of 0.6."""
    spec = factories.make_spec(dataset="digits")
    attempt = queue_driver.running(database, spec=spec)
    queue_driver.succeed(database, attempt, factories.make_model(spec=spec))
    return attempt.job_id


def test_shades_follow_shares_and_those_of_errors_the_largest_error() -> None:
    cells = matrix([[91, 8, 1], [0, 100, 0], [0, 0, 0]], [100, 100, 0])

    assert [cell.shade for cell in cells[0]] == [MAX_SHADE, 3, 1]
    assert [cell.error_shade for cell in cells[0]] == [0, MAX_SHADE, 4]
    assert [cell.share for cell in cells[2]] == [None, None, None]
    assert {cell.error_shade for row in matrix([[1, 0], [0, 1]], [1, 1]) for cell in row} == {0}


def test_results_are_shown_as_tables_with_the_first_predictions(client: httpx.Client, job_id: UUID) -> None:
    html = client.get(f"/jobs/{job_id}?tab=evaluation").text

    assert all(text in html for text in ("98.00 %", "9 predicted as 4: 1", "50 of 50 images"))
    assert html.count('class="shot correct"') == 49 + 1  # and the template
    assert html.count('class="shot wrong"') == 1
    assert "/v1/datasets/digits/images?split=test&amp;indices=0,1,2," in html


@pytest.mark.parametrize(("predicted", "shown"), [("4", 1), ("9", 4), ("none", 0)])
def test_a_cell_in_the_address_shows_its_images(
    client: httpx.Client, job_id: UUID, predicted: str, shown: int
) -> None:
    html = client.get(f"/jobs/{job_id}?tab=evaluation&label=9&predicted={predicted}").text

    assert f"{shown} images" in html
    assert html.count("<li class=") == shown + 1  # and the template


@pytest.mark.parametrize(
    "query", ["label=10&predicted=4", "label=9", "label=-1&predicted=x", "label=9&predicted="]
)
def test_a_cell_that_does_not_exist_is_ignored(client: httpx.Client, job_id: UUID, query: str) -> None:
    assert "50 of 50 images" in client.get(f"/jobs/{job_id}?tab=evaluation&{query}").text


def test_an_evaluation_without_stored_predictions_says_so_and_shows_its_classes(
    client: httpx.Client, database: Database, job_id: UUID
) -> None:
    stored.drop_predictions(database)

    html = client.get(f"/jobs/{job_id}?tab=evaluation").text

    assert "The predictions of single images are not stored" in html
    assert all(f'<tr data-label="{label}">' in html for label in range(10))
    assert not any(part in html for part in ('id="threshold"', 'id="matrix"', 'id="shots"', "data-live"))


def test_results_without_classes_are_a_table(client: httpx.Client, database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.report(database, attempt, Produced(result=factories.make_regression()))

    html = client.get(f"/jobs/{attempt.job_id}?tab=evaluation").text

    assert "Of 40 examples of houses" in html
    assert '<th scope="row">r2</th><td class="num">-0.2500</td>' in html
    assert not any(part in html for part in ("data-label", "data-live", "matrix"))


@pytest.mark.parametrize(("classes", "has_matrix"), [(3, True), (200, False)])
def test_classes_without_names_and_of_another_dataset_are_numbered(
    client: httpx.Client, database: Database, classes: int, has_matrix: bool
) -> None:
    attempt = queue_driver.running(database)
    result = classification(np.eye(classes), np.arange(classes), dataset="houses")
    queue_driver.report(database, attempt, Produced(result=result))

    html = client.get(f"/jobs/{attempt.job_id}?tab=evaluation").text

    assert html.count("data-label=") == classes
    assert ('id="matrix"' in html, "is too large for a page" in html) == (has_matrix, not has_matrix)
    assert "The images cannot be shown" in html


def test_a_job_that_has_evaluated_nothing_says_so(client: httpx.Client, database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.report(database, attempt, Produced())

    assert (
        "succeeded without evaluating anything" in client.get(f"/jobs/{attempt.job_id}?tab=evaluation").text
    )
    for tab in ("training", "model", "input", "logs", "timeline", "config"):
        assert client.get(f"/jobs/{attempt.job_id}?tab={tab}").status_code == 200
    assert "This job has no model." in client.get(f"/jobs/{attempt.job_id}?tab=model").text


def test_images_that_the_api_does_not_have_are_explained(client: httpx.Client, database: Database) -> None:
    job_id, _ = queue_driver.succeeded(database)  # on mnist, which no worker has downloaded here

    html = client.get(f"/jobs/{job_id}?tab=evaluation").text

    assert "The images cannot be shown" in html
    assert "<image" not in html


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("queued", "is evaluated on 50 test images"),
        ("failed", "failed before"),
        ("cancelled", "cancelled before"),
    ],
)
def test_a_job_without_an_evaluation_says_why(
    client: httpx.Client, database: Database, state: str, says: str
) -> None:
    jobs = queue_driver.one_of_each_state(database)

    assert says in client.get(f"/jobs/{jobs[state]}?tab=evaluation").text  # type: ignore[index]
