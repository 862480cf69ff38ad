"""The tab with the input data: examples of the dataset, also of an evaluation's, and why there are none."""

import re

import httpx
import pytest

from shared.db.engine import Database
from tests.support import factories, queue_driver


def examples(html: str) -> list[str]:
    return re.findall(r"Test image \d+: \w+", html.partition('id="own"')[0])


def own(html: str) -> list[int]:
    return [int(index) for index in re.findall(r"(?:Test|Train) image (\d+)", html.partition('id="own"')[2])]


def test_twenty_examples_with_their_labels_the_same_each_time_and_others_on_request(
    client: httpx.Client, database: Database
) -> None:
    job_id = queue_driver.submit(database, spec=factories.make_spec(dataset="digits", seed=3))

    first, again, others = (
        examples(client.get(f"/jobs/{job_id}?tab=input{query}").text) for query in ("", "&draw=3", "&draw=4")
    )

    assert len(set(first)) == 20
    assert first == again
    assert first != others
    assert examples(client.get(f"/jobs/{job_id}?tab=input&draw=x").text) == first


def test_an_evaluation_shows_the_dataset_of_its_model(client: httpx.Client, database: Database) -> None:
    spec = factories.make_spec(dataset="digits")
    attempt, model = queue_driver.running(database, spec=spec), factories.make_model(spec=spec)
    queue_driver.succeed(database, attempt, model)
    job_id = queue_driver.submit(database, kind="evaluate", spec=factories.make_evaluate_spec(model.id))

    html = client.get(f"/jobs/{job_id}?tab=input").text

    assert len(examples(html)) == 20
    assert "images of the model&#39;s training" in html or "images of the model's training" in html


@pytest.mark.parametrize("part", ["training", "validation", "evaluation", "unknown"])
def test_the_images_of_a_job_are_those_that_the_api_names(
    client: httpx.Client, database: Database, part: str
) -> None:
    job_id = queue_driver.submit(database, spec=factories.make_spec(dataset="digits", seed=3))
    named = "training" if part == "unknown" else part
    listed = client.get(f"/v1/jobs/{job_id}/images?part={named}&count=60").json()

    html = client.get(f"/jobs/{job_id}?tab=input&images={part}").text

    assert own(html) == [image["index"] for image in listed["data"]]
    assert f"{min(60, listed['total'])} of {listed['total']}, as they were drawn" in html
    assert f"split={listed['split']}&amp;indices={own(html)[0]}," in html


def test_a_dataset_that_is_not_there_is_explained(client: httpx.Client, database: Database) -> None:
    here, gone = (
        client.get(f"/jobs/{queue_driver.submit(database, spec=factories.make_spec(dataset=name))}?tab=input")
        for name in ("mnist", "gone")
    )

    assert "is not in the cache" in here.text
    assert "5,500" not in here.text
    assert "there is no dataset" in gone.text
