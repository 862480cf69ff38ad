"""Samples of datasets: how they are drawn, and over HTTP."""

from base64 import b64decode
from io import BytesIO
from random import Random
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from api.app import create_app
from api.routes.datasets import draw
from shared.datasets import catalog
from shared.datasets.catalog import Dataset, DatasetInfo
from shared.settings import Settings
from tests.support.factories import NAMES
from tests.support.file_server import Response, running_file_server
from tests.support.servers import running_app


@pytest.fixture
def dataset() -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (30, 784), dtype=np.uint8)
    labels = (np.arange(30) % 10).astype(np.uint8)
    info = DatasetInfo("tiny", 10, 20, 10, 10, 10, NAMES)
    return Dataset(info, images[:10], labels[:10], images[10:], labels[10:])


def test_a_sample_is_the_test_image_and_its_label(dataset: Dataset) -> None:
    for sample in draw(dataset, 5, Random(1)).data:
        prefix, encoded = sample.image.split(",")
        pixels = np.asarray(Image.open(BytesIO(b64decode(encoded))))

        assert prefix == "data:image/png;base64"
        assert pixels.shape == (28, 28)
        assert (pixels.reshape(784) == dataset.test_images[sample.index]).all()
        assert sample.label == dataset.test_labels[sample.index]
        assert sample.name == NAMES[sample.label]


def test_no_image_is_drawn_twice(dataset: Dataset) -> None:
    assert sorted(sample.index for sample in draw(dataset, 20, Random(1)).data) == list(range(20))


def test_all_images_are_drawn_where_there_are_fewer_than_asked_for(dataset: Dataset) -> None:
    assert len(draw(dataset, 200, Random(1)).data) == 20


def test_the_same_seed_draws_the_same_images(dataset: Dataset) -> None:
    assert draw(dataset, 5, Random(1)) == draw(dataset, 5, Random(1)) != draw(dataset, 5, Random(2))


def test_samples_are_labelled_images(client: httpx.Client) -> None:
    samples = client.get("/v1/datasets/digits/samples").json()

    assert samples["dataset"] == "digits"
    assert len(samples["data"]) == 20
    assert all(sample["image"].startswith("data:image/png;base64,") for sample in samples["data"])
    assert {sample["label"] for sample in samples["data"]} <= set(range(10))


def test_samples_are_others_at_each_call_unless_a_seed_is_given(client: httpx.Client) -> None:
    def indices(**params: int) -> list[int]:
        answer = client.get("/v1/datasets/digits/samples", params={"count": 50, **params})
        return [sample["index"] for sample in answer.json()["data"]]

    assert indices() != indices()
    assert indices(seed=3) == indices(seed=3) != indices(seed=4)


@pytest.mark.parametrize(
    ("name", "value"), [("count", 0), ("count", 201), ("seed", -1), ("seed", 2**31), ("seed", "x")]
)
def test_samples_that_cannot_be_drawn_are_refused(client: httpx.Client, name: str, value: object) -> None:
    answer = client.get("/v1/datasets/digits/samples", params={name: str(value)})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == name


@pytest.mark.parametrize("name", ["cifar", "..", "a%00b", "%ff"])
def test_an_unknown_dataset_is_not_found(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/v1/datasets/{name}/samples")

    assert answer.status_code == 404


def test_unknown_dataset_is_a_problem_that_names_the_configured_ones(client: httpx.Client) -> None:
    answer = client.get("/v1/datasets/cifar/samples")

    assert answer.json()["type"] == "/problems/dataset-not-found"
    assert "mnist, digits" in answer.json()["detail"]


def test_a_dataset_that_no_worker_has_downloaded_yet_is_a_problem_that_says_who_will(
    client: httpx.Client,
) -> None:
    answer = client.get("/v1/datasets/mnist/samples")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["type"] == "/problems/data-unavailable"
    assert "A worker with the same DATA_DIR downloads it" in answer.json()["detail"]


def test_samples_of_a_dataset_that_another_process_downloads_are_refused_at_once(
    settings: Settings, sqlite_url: str
) -> None:
    with running_file_server() as host:
        url = host.serve("/a", Response(silent=True))
        hostile = {"mnist_images_url": url, "mnist_labels_url": url, "database_url": sqlite_url}
        with running_app(create_app(settings.model_copy(update=hostile))) as client:
            assert client.get("/v1/datasets/mnist/samples", timeout=5).status_code == 503
        assert host.requests == []


def _pixels(answer: httpx.Response) -> np.ndarray[Any, Any]:
    assert answer.headers["Content-Type"] == "image/png"
    return np.asarray(Image.open(BytesIO(answer.content)))


@pytest.mark.parametrize("query", ["indices=7,3,7", "indices=7&indices=3&indices=7"])
def test_images_are_one_strip_in_the_order_of_their_indices(
    client: httpx.Client, settings: Settings, query: str
) -> None:
    pixels = _pixels(client.get(f"/v1/datasets/digits/images?{query}"))

    assert pixels.shape == (3 * 28, 28)
    assert (pixels.reshape(3, 784) == catalog.load("digits", settings).test_images[[7, 3, 7]]).all()


def test_training_images_are_another_split(client: httpx.Client, settings: Settings) -> None:
    params = {"split": "train", "indices": "1399"}

    pixels = _pixels(client.get("/v1/datasets/digits/images", params=params))

    assert (pixels.ravel() == catalog.load("digits", settings).train_images[1_399]).all()


def test_unchanged_images_are_not_sent_again(client: httpx.Client) -> None:
    url = "/v1/datasets/digits/images?indices=0"

    answer = client.get(url, headers={"If-None-Match": client.get(url).headers["ETag"]})

    assert (answer.status_code, answer.content) == (304, b"")


def test_an_image_that_the_dataset_does_not_have_is_not_found(client: httpx.Client) -> None:
    answer = client.get("/v1/datasets/digits/images", params={"indices": "0,397"})

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/image-not-found")
    assert answer.json()["detail"] == "there is no image 397: the split `test` of 'digits' has 397 images"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "indices=",
        "indices=-1",
        "indices=a",
        f"indices={2**31}",
        f"indices={'0,' * 100}0",
        "indices=0&split=all",
    ],
)
def test_images_that_cannot_be_named_are_refused(client: httpx.Client, query: str) -> None:
    answer = client.get(f"/v1/datasets/digits/images?{query}")

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


def test_the_datasets_are_listed_with_their_sizes(client: httpx.Client) -> None:
    mnist, digits = client.get("/v1/datasets").json()["data"]
    assert (mnist["name"], mnist["train_rows"], mnist["test_rows"]) == ("mnist", 55_000, 10_000)
    assert (mnist["default_train_size"], mnist["class_names"]) == (5_500, list(NAMES))
    assert (mnist["is_cached"], digits["is_cached"]) == (False, True)
    assert digits["name"] == "digits"
