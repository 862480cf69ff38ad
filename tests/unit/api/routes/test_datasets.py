import httpx
import pytest

from shared.settings import Settings


def test_samples_are_labelled_images(client: httpx.Client) -> None:
    samples = client.get("/v1/datasets/digits/samples").json()

    assert samples["dataset"] == "digits"
    assert len(samples["data"]) == 20
    assert all(one["image"].startswith("data:image/png;base64,") for one in samples["data"])
    assert {one["label"] for one in samples["data"]} <= set(range(10))


def test_samples_are_others_at_each_call_unless_a_seed_is_given(client: httpx.Client) -> None:
    def indices(**params: int) -> list[int]:
        answer = client.get("/v1/datasets/digits/samples", params={"count": 50, **params})
        return [one["index"] for one in answer.json()["data"]]

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


def test_an_unknown_dataset_is_answered_with_those_there_are(client: httpx.Client) -> None:
    answer = client.get("/v1/datasets/cifar/samples")

    assert answer.json()["type"] == "/problems/dataset-not-found"
    assert "mnist, digits" in answer.json()["detail"]


def test_data_that_cannot_be_fetched_is_a_problem_that_names_the_address(
    client: httpx.Client, settings: Settings
) -> None:
    answer = client.get("/v1/datasets/mnist/samples")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["type"] == "/problems/data-unavailable"
    assert settings.mnist_images_url in answer.json()["detail"]
