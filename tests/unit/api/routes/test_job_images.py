"""The images of a job over HTTP."""

from base64 import b64decode
from io import BytesIO
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image

from shared.datasets import catalog, splits
from shared.db.engine import Database
from shared.settings import Settings
from tests.support import factories, queue_driver


@pytest.fixture
def job_id(database: Database) -> UUID:
    """A queued job on the digits that need no network."""
    return queue_driver.submit(database, spec=factories.make_spec(dataset="digits", seed=5))


def test_training_images_are_shown_with_their_labels(
    client: httpx.Client, job_id: UUID, settings: Settings
) -> None:
    body = client.get(f"/v1/jobs/{job_id}/images").json()

    dataset = catalog.load("digits", settings)
    rows = splits.train_rows(5, 100, dataset.info.train_rows)[:20].tolist()
    assert {name: value for name, value in body.items() if name != "data"} == {
        "job_id": str(job_id),
        "dataset": "digits",
        "part": "training",
        "split": "train",
        "total": 100,
    }
    assert [image["index"] for image in body["data"]] == rows
    assert [image["label"] for image in body["data"]] == dataset.train_labels[rows].tolist()
    first = Image.open(BytesIO(b64decode(body["data"][0]["image"].partition(",")[2])))
    assert (np.asarray(first).ravel() == dataset.train_images[rows[0]]).all()


@pytest.mark.parametrize(
    ("part", "count", "shown"), [("validation", 5, 5), ("evaluation", 200, 50), ("validation", 200, 20)]
)
def test_other_images_are_of_the_test_split(
    client: httpx.Client, job_id: UUID, part: str, count: int, shown: int
) -> None:
    body = client.get(f"/v1/jobs/{job_id}/images", params={"part": part, "count": count}).json()

    assert (body["split"], len(body["data"])) == ("test", shown)


def test_images_of_a_dataset_that_no_worker_has_downloaded_are_unavailable(
    client: httpx.Client, database: Database
) -> None:
    answer = client.get(f"/v1/jobs/{queue_driver.submit(database)}/images")

    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/data-unavailable")


@pytest.mark.parametrize("params", [{"part": "all"}, {"count": 0}, {"count": 201}])
def test_images_that_cannot_be_named_are_refused(
    client: httpx.Client, job_id: UUID, params: dict[str, Any]
) -> None:
    answer = client.get(f"/v1/jobs/{job_id}/images", params=params)

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
