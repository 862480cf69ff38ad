from base64 import b64decode
from io import BytesIO
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image
from uuid_utils.compat import uuid7

from shared.datasets import catalog
from shared.db.engine import Database
from shared.schemas import Misclassified
from shared.settings import Settings
from tests.support import factories

WRONG = [(3, 9, 4), (7, 9, 4), (12, 2, 7), (30, 9, 7), (41, 2, 7)]


@pytest.fixture
def job_id(database: Database) -> UUID:
    """A job that has succeeded on the digits that need no network."""
    attempt = factories.running(database)
    wrong = tuple(
        Misclassified(index=index, label=label, predicted=predicted, probability=0.5)
        for index, label, predicted in WRONG
    )
    model = factories.make_model(
        spec=factories.make_spec(dataset="digits"), evaluation=factories.make_evaluation(misclassified=wrong)
    )
    factories.succeed(database, attempt, model)
    return attempt.job_id


def test_what_was_taken_for_another_is_shown(client: httpx.Client, job_id: UUID, settings: Settings) -> None:
    told = client.get(f"/v1/jobs/{job_id}/misclassified").json()

    assert [(one["index"], one["label"], one["predicted"]) for one in told["data"]] == WRONG
    assert (told["has_more"], told["next_cursor"]) == (False, None)
    shown = Image.open(BytesIO(b64decode(told["data"][1]["image"].partition(",")[2])))
    assert (np.asarray(shown).ravel() == catalog.load("digits", settings).test_images[7]).all()


@pytest.mark.parametrize(
    ("asked", "indices"),
    [
        ({"label": 9}, [3, 7, 30]),
        ({"predicted": 7}, [12, 30, 41]),
        ({"label": 9, "predicted": 7}, [30]),
        ({"label": 0}, []),
    ],
)
def test_one_class_or_one_mistake_is_looked_at(
    client: httpx.Client, job_id: UUID, asked: dict[str, int], indices: list[int]
) -> None:
    told = client.get(f"/v1/jobs/{job_id}/misclassified", params=asked).json()

    assert [one["index"] for one in told["data"]] == indices


def test_pages_follow_each_other(client: httpx.Client, job_id: UUID) -> None:
    path, found, cursor = f"/v1/jobs/{job_id}/misclassified", [], 0
    while True:
        page = client.get(path, params={"limit": 2, "cursor": cursor}).json()
        found += [one["index"] for one in page["data"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break

    assert found == [index for index, _, _ in WRONG]


def test_a_job_without_an_evaluation_has_none_yet(client: httpx.Client, database: Database) -> None:
    answer = client.get(f"/v1/jobs/{factories.submitted(database)}/misclassified")

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-ready")


def test_an_unknown_job_is_not_found(client: httpx.Client) -> None:
    assert client.get(f"/v1/jobs/{uuid7()}/misclassified").status_code == 404
