import httpx
import pytest


@pytest.mark.parametrize(
    ("method", "path", "offered"),
    [
        ("PATCH", "/v1/jobs/counts", "GET"),
        ("DELETE", "/v1/jobs/counts", "GET"),
        ("POST", "/v1/jobs/counts", "GET"),
        ("GET", "/v1/jobs/batch", "POST"),
        ("PATCH", "/v1/jobs/batch", "POST"),
        ("OPTIONS", "/v1/jobs/batch", "POST"),
    ],
)
def test_the_end_of_the_path_is_never_taken_for_a_jobs_id(
    client: httpx.Client, method: str, path: str, offered: str
) -> None:
    answer = client.request(method, path, json={})

    assert (answer.status_code, answer.headers["Allow"]) == (405, offered)


def test_both_are_answered(client: httpx.Client) -> None:
    assert client.get("/v1/jobs/counts").json()["total"] == 0
    unknown = {"action": "cancel", "ids": ["0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f"]}
    assert client.post("/v1/jobs/batch", json=unknown).json()["data"][0]["status"] == 404
