import httpx
import pytest

from api.http.problems import TYPES


@pytest.mark.parametrize("slug", TYPES)
def test_type_of_every_problem_is_explained(client: httpx.Client, slug: str) -> None:
    kind = client.get(TYPES[slug].uri).json()

    assert kind["slug"] == slug
    assert kind["advice"]


def test_an_unknown_problem_type_is_a_problem_that_names_the_known_ones(client: httpx.Client) -> None:
    answer = client.get("/problems/worry")

    assert answer.status_code == 404
    assert "job-not-found" in answer.json()["detail"]
