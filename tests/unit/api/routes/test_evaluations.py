"""Evaluations over HTTP: the results, and the misclassified images."""

from base64 import b64decode
from io import BytesIO
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image
from uuid_utils.compat import uuid7

from shared.datasets import catalog
from shared.db.engine import Database
from shared.formats.classification import classification
from shared.formats.predictions import PredictedImages
from shared.formats.results import Produced
from shared.settings import Settings
from tests.support import factories, queue_driver, stored

WRONG = [(3, 9, 4), (7, 9, 4), (12, 2, 7), (30, 9, 7), (41, 2, 7)]


@pytest.fixture
def job_id(database: Database) -> UUID:
    """A job that has succeeded on the digits that need no network."""
    attempt = queue_driver.running(database)
    wrong = {index: (label, predicted) for index, label, predicted in WRONG}
    evaluation = factories.make_evaluation(wrong=wrong, dataset="digits")
    model = factories.make_model(spec=factories.make_spec(dataset="digits"), evaluation=evaluation)
    queue_driver.succeed(database, attempt, model)
    return attempt.job_id


def test_an_evaluation_is_complete(client: httpx.Client, database: Database) -> None:
    job_id, model = queue_driver.succeeded(database)

    evaluation = client.get(f"/v1/jobs/{job_id}/evaluation").json()

    assert evaluation == {
        **factories.as_shown(model.evaluation).model_dump(mode="json"),
        "job_id": str(job_id),
        "model_id": str(model.id),
        "dataset": "mnist",
    }


def test_a_job_that_has_evaluated_nothing_has_no_evaluation(client: httpx.Client, database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.report(database, attempt, Produced())

    for path in ("evaluation", "evaluation/predictions", "misclassified"):
        answer = client.get(f"/v1/jobs/{attempt.job_id}/{path}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/evaluation-not-found")


def test_results_without_classes_are_values(client: httpx.Client, database: Database) -> None:
    attempt = queue_driver.running(database)
    queue_driver.report(database, attempt, Produced(result=factories.make_regression()))

    evaluation = client.get(f"/v1/jobs/{attempt.job_id}/evaluation").json()

    assert (evaluation["type"], evaluation["values"]) == ("values", {"mae": 1.5, "r2": -0.25})
    assert (evaluation["model_id"], evaluation["dataset"], evaluation["size"]) == (None, "houses", 40)
    assert (evaluation["accuracy"], evaluation["per_class"], evaluation["confusion_matrix"]) == (
        None,
        [],
        None,
    )
    answer = client.get(f"/v1/jobs/{attempt.job_id}/misclassified")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/predictions-not-stored")


def test_mistakes_in_a_dataset_that_the_server_does_not_know_have_no_image(
    client: httpx.Client, database: Database
) -> None:
    attempt = queue_driver.running(database)
    result = classification([[0.9, 0.1]], [1], dataset="houses")
    queue_driver.report(database, attempt, Produced(result=result))

    [image] = client.get(f"/v1/jobs/{attempt.job_id}/misclassified").json()["data"]

    assert (image["index"], image["label"], image["predicted"], image["image"]) == (0, 1, 0, None)


def test_evaluation_of_an_unfinished_job_is_a_conflict(client: httpx.Client, database: Database) -> None:
    answer = client.get(f"/v1/jobs/{queue_driver.submit(database)}/evaluation")

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/not-ready"


def test_misclassified_images_are_returned(client: httpx.Client, job_id: UUID, settings: Settings) -> None:
    page = client.get(f"/v1/jobs/{job_id}/misclassified").json()

    assert [(image["index"], image["label"], image["predicted"]) for image in page["data"]] == WRONG
    assert (page["has_more"], page["next_cursor"]) == (False, None)
    image = Image.open(BytesIO(b64decode(page["data"][1]["image"].partition(",")[2])))
    assert (np.asarray(image).ravel() == catalog.load("digits", settings).test_images[7]).all()


@pytest.mark.parametrize(
    ("params", "indices"),
    [
        ({"label": 9}, [3, 7, 30]),
        ({"predicted": 7}, [12, 30, 41]),
        ({"label": 9, "predicted": 7}, [30]),
        ({"label": 0}, []),
    ],
)
def test_misclassified_images_are_filtered_by_class(
    client: httpx.Client, job_id: UUID, params: dict[str, int], indices: list[int]
) -> None:
    page = client.get(f"/v1/jobs/{job_id}/misclassified", params=params).json()

    assert [image["index"] for image in page["data"]] == indices


def test_misclassified_images_are_listed_page_by_page(client: httpx.Client, job_id: UUID) -> None:
    indices: list[int] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = client.get(f"/v1/jobs/{job_id}/misclassified", params=query).json()
        indices += [image["index"] for image in page["data"]]
        query["cursor"] = page["next_cursor"]
        if not page["has_more"]:
            break

    assert indices == [index for index, _, _ in WRONG]


def test_misclassified_images_of_a_dataset_that_is_not_in_the_cache_are_unavailable(
    client: httpx.Client, database: Database
) -> None:
    job_id, _ = queue_driver.succeeded(database)

    answer = client.get(f"/v1/jobs/{job_id}/misclassified")

    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/data-unavailable")
    assert answer.headers["Retry-After"] == "1"


def test_misclassified_images_of_an_unfinished_job_are_a_conflict(
    client: httpx.Client, database: Database
) -> None:
    answer = client.get(f"/v1/jobs/{queue_driver.submit(database)}/misclassified")

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-ready")


def test_an_unknown_job_is_not_found(client: httpx.Client) -> None:
    assert client.get(f"/v1/jobs/{uuid7()}/misclassified").status_code == 404


def test_predictions_are_listed_page_by_page(client: httpx.Client, job_id: UUID) -> None:
    path = f"/v1/jobs/{job_id}/evaluation/predictions"

    first = client.get(path, params={"label": 9, "limit": 3}).json()
    second = client.get(path, params={"label": 9, "limit": 3, "cursor": first["next_cursor"]}).json()

    assert [image["index"] for image in first["data"] + second["data"]] == [3, 7, 19, 29, 30, 39]
    assert (first["has_more"], second["has_more"]) == (True, True)
    wrong = first["data"][0]
    assert (wrong["label"], wrong["predicted"], len(wrong["probabilities"])) == (9, 4, 10)
    assert wrong["probability"] == max(wrong["probabilities"])


@pytest.mark.parametrize(
    ("params", "indices"),
    [({"predicted": 4, "correct": "false"}, [3, 7]), ({"correct": "true", "label": 4}, [4, 14, 24, 34, 44])],
)
def test_predictions_are_filtered_in_both_formats(
    client: httpx.Client, job_id: UUID, params: dict[str, Any], indices: list[int]
) -> None:
    path = f"/v1/jobs/{job_id}/evaluation/predictions"

    listed = client.get(path, params=params).json()
    binary = client.get(path, params={**params, "format": "binary"})

    assert binary.headers["Content-Type"] == "application/octet-stream"
    images = PredictedImages.from_bytes(binary.content, len(indices))
    assert images.indices.tolist() == [image["index"] for image in listed["data"]] == indices
    assert images.probabilities.tolist() == [image["probabilities"] for image in listed["data"]]


def test_all_predictions_are_one_file(client: httpx.Client, database: Database) -> None:
    job_id, model = queue_driver.succeeded(database)

    answer = client.get(f"/v1/jobs/{job_id}/evaluation/predictions", params={"format": "binary"})

    assert answer.content == model.evaluation.body
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"


@pytest.mark.parametrize("format_", ["json", "binary"])
def test_unchanged_predictions_are_not_sent_again(client: httpx.Client, job_id: UUID, format_: str) -> None:
    url = f"/v1/jobs/{job_id}/evaluation/predictions?format={format_}"

    answer = client.get(url, headers={"If-None-Match": client.get(url).headers["ETag"]})

    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize("format_", ["json", "binary"])
def test_predictions_that_an_earlier_version_did_not_store_are_a_problem_with_a_remedy(
    client: httpx.Client, database: Database, job_id: UUID, format_: str
) -> None:
    stored.drop_predictions(database)

    answer = client.get(f"/v1/jobs/{job_id}/evaluation/predictions", params={"format": format_})

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/predictions-not-stored")
    assert client.get(f"/v1/jobs/{job_id}/evaluation").status_code == 200


@pytest.mark.parametrize(
    "params", [{"label": -1}, {"correct": "perhaps"}, {"format": "xml"}, {"limit": 1_001}]
)
def test_predictions_that_cannot_be_are_refused(
    client: httpx.Client, job_id: UUID, params: dict[str, Any]
) -> None:
    answer = client.get(f"/v1/jobs/{job_id}/evaluation/predictions", params=params)

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


def test_predictions_of_an_unfinished_job_are_a_conflict(client: httpx.Client, database: Database) -> None:
    answer = client.get(f"/v1/jobs/{queue_driver.submit(database)}/evaluation/predictions")

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-ready")
