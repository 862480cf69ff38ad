from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.formats.epochs import EpochMetrics
from shared.store import retention
from tests.support import factories, queue_driver, stored

GRID: dict[str, Any] = {
    "strategy": "grid",
    "name": "rates",
    "tags": ["a"],
    "queue": "gpu",
    "spec": {"epochs": 2},
    "parameters": {"learning_rate": [0.001, 0.01], "batch_size": [128, 512]},
}


def _submit(client: httpx.Client, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/sweeps", json={**GRID, **changes})
    assert answer.status_code == 202, answer.text
    sweep: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/v1/sweeps/{sweep['id']}"
    return sweep


def _finish(database: Database, job_id: str, accuracy: float) -> None:
    """Have a worker finish a job with this accuracy."""
    attempt = queue_driver.claim(database, UUID(job_id)).attempt
    model = factories.make_model(evaluation=factories.make_evaluation(accuracy=accuracy))
    queue_driver.succeed(database, attempt, model)


def test_a_grid_is_a_job_for_each_combination(client: httpx.Client) -> None:
    sweep = _submit(client)

    assert (sweep["strategy"], sweep["name"], sweep["states"]) == ("grid", "rates", {"queued": 4})
    assert sweep["parameters"] == GRID["parameters"]
    assert [job["parameters"] for job in sweep["jobs"]] == [
        {"learning_rate": 0.001, "batch_size": 128},
        {"learning_rate": 0.001, "batch_size": 512},
        {"learning_rate": 0.01, "batch_size": 128},
        {"learning_rate": 0.01, "batch_size": 512},
    ]
    stored = [client.get(f"/v1/jobs/{job['job_id']}").json() for job in sweep["jobs"]]
    assert {(job["sweep_id"], job["name"], job["queue"], *job["tags"]) for job in stored} == {
        (sweep["id"], "rates", "gpu", "a")
    }
    assert {job["spec"]["epochs"] for job in stored} == {2}
    assert len({job["spec"]["seed"] for job in stored}) == 1


def test_swept_seeds_are_those_of_the_jobs(client: httpx.Client) -> None:
    sweep = _submit(client, parameters={"seed": [1, 2, 3]})

    assert [job["parameters"]["seed"] for job in sweep["jobs"]] == [1, 2, 3]


def test_random_sweep_has_the_requested_number_of_jobs(client: httpx.Client) -> None:
    sweep = _submit(
        client,
        strategy="random",
        count=7,
        parameters={"learning_rate": {"min": 0.001, "max": 0.1, "log": True}, "optimizer": ["adam", "sgd"]},
    )

    assert sweep["states"] == {"queued": 7}
    assert len({job["parameters"]["learning_rate"] for job in sweep["jobs"]}) == 7


@pytest.mark.slow
def test_a_thousand_jobs_are_submitted_in_one_call(client: httpx.Client) -> None:
    sweep = _submit(client, parameters={"seed": list(range(1_000))})

    assert sweep["states"] == {"queued": 1_000}
    assert len(sweep["jobs"]) == 1_000


def test_one_impossible_combination_stores_nothing(client: httpx.Client, database: Database) -> None:
    answer = client.post("/v1/sweeps", json={**GRID, "parameters": {"batch_size": [128, 0]}})

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-spec")
    assert answer.json()["errors"][0]["pointer"] == "/parameters/batch_size"
    assert stored.count_jobs(database) == 0
    assert client.get("/v1/sweeps").json()["data"] == []


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"parameters": {"train_size": [100, 55_001]}}, "/parameters/train_size"),
        ({"parameters": {"epochs": [1]}, "spec": {"train_size": 55_001}}, "/spec/train_size"),
        ({"parameters": {"optimizer": ["adam", "lion"]}}, "/parameters/optimizer"),
        ({"parameters": {"epochs": [1]}, "spec": {"dataset": "none"}}, "/spec/dataset"),
        (
            {"parameters": {"epochs": [1], "seed": list(range(1_000)), "batch_size": [1, 2]}},
            "/parameters/seed",
        ),
        ({"parameters": {"epochs": []}}, "/parameters/epochs"),
        ({"parameters": {"keep_weights": [True, "x"]}}, "/parameters/keep_weights"),
        ({"strategy": "bayes"}, "/strategy"),
    ],
)
def test_invalid_sweep_is_refused_with_the_field(
    client: httpx.Client, changes: dict[str, Any], pointer: str
) -> None:
    answer = client.post("/v1/sweeps", json={**GRID, **changes})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_the_same_key_and_request_is_the_same_sweep(client: httpx.Client) -> None:
    answers = [client.post("/v1/sweeps", json=GRID, headers={"Idempotency-Key": "k"}) for _ in range(2)]

    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers] == [None, "true"]
    assert len(client.get("/v1/sweeps").json()["data"]) == 1


def _delete(client: httpx.Client, job: dict[str, Any]) -> None:
    assert client.delete(f"/v1/jobs/{job['job_id']}").status_code == 204


def test_a_sweep_is_not_stored_again_while_any_of_its_jobs_is_left(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "k"}
    first = client.post("/v1/sweeps", json=GRID, headers=headers).json()
    client.post(f"/v1/sweeps/{first['id']}/cancel")
    _delete(client, first["jobs"][0])

    again = client.post("/v1/sweeps", json=GRID, headers=headers)

    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["states"] == {"cancelled": 3}
    assert len(client.get("/v1/jobs").json()["data"]) == 3


def test_a_sweep_that_was_purged_is_not_stored_again(client: httpx.Client, database: Database) -> None:
    headers = {"Idempotency-Key": "k"}
    first = client.post("/v1/sweeps", json=GRID, headers=headers).json()
    client.post(f"/v1/sweeps/{first['id']}/cancel")
    jobs = [UUID(job["job_id"]) for job in first["jobs"]]
    assert database.write(partial(retention.delete_jobs, job_ids=jobs)) == 4

    answer = client.post("/v1/sweeps", json=GRID, headers=headers)

    assert (answer.status_code, answer.json()["type"]) == (410, "/problems/submission-deleted")
    assert "the sweep that was submitted" in answer.json()["detail"]
    assert client.get("/v1/jobs").json()["data"] == []


def test_key_of_a_different_request_is_refused(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "k"}
    client.post("/v1/jobs", json={"kind": "train"}, headers=headers)

    answer = client.post("/v1/sweeps", json=GRID, headers=headers)

    assert answer.json()["type"] == "/problems/idempotency-key-reused"


def test_jobs_are_ranked_and_those_without_a_value_are_last(client: httpx.Client, database: Database) -> None:
    sweep = _submit(client)
    ids = [job["job_id"] for job in sweep["jobs"]]
    _finish(database, ids[1], 0.8)
    _finish(database, ids[2], 0.9)

    detail = client.get(f"/v1/sweeps/{sweep['id']}").json()

    assert [job["job_id"] for job in detail["jobs"]] == [ids[2], ids[1], ids[0], ids[3]]
    assert (detail["best"]["job_id"], detail["best"]["value"]) == (ids[2], 0.9)
    assert detail["states"] == {"queued": 2, "succeeded": 2}
    [listed] = client.get("/v1/sweeps").json()["data"]
    assert listed == {name: value for name, value in detail.items() if name != "jobs"}


def test_least_loss_is_best(client: httpx.Client, database: Database) -> None:
    sweep = _submit(client)
    ids = [job["job_id"] for job in sweep["jobs"]]
    for job_id, epochs in ((ids[0], 1), (ids[3], 3)):
        queue_driver.record(database, queue_driver.claim(database, UUID(job_id)).attempt, epochs)

    detail = client.get(f"/v1/sweeps/{sweep['id']}", params={"metric": "val_loss"}).json()

    assert [job["job_id"] for job in detail["jobs"]][:2] == [ids[3], ids[0]]
    assert (detail["objective"], detail["best"]["job_id"]) == ("val_loss", ids[3])


def test_a_sweep_without_any_value_has_no_best_job(client: httpx.Client) -> None:
    assert _submit(client)["best"] is None


def test_sweeps_are_listed_page_by_page(client: httpx.Client) -> None:
    ids = [_submit(client)["id"] for _ in range(3)]

    first = client.get("/v1/sweeps", params={"limit": 2}).json()
    second = client.get("/v1/sweeps", params={"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [sweep["id"] for sweep in first["data"] + second["data"]] == ids[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)


def test_all_jobs_of_a_sweep_are_cancelled(client: httpx.Client, database: Database) -> None:
    sweep, other = _submit(client), _submit(client)
    ids = [job["job_id"] for job in sweep["jobs"]]
    _finish(database, ids[0], 0.8)
    queue_driver.claim(database, UUID(ids[1]))

    answer = client.post(f"/v1/sweeps/{sweep['id']}/cancel")

    assert answer.status_code == 200
    assert answer.json()["states"] == {"succeeded": 1, "running": 1, "cancelled": 2}
    assert client.get(f"/v1/jobs/{ids[1]}").json()["cancel_requested_at"]
    assert client.get(f"/v1/sweeps/{other['id']}").json()["states"] == {"queued": 4}
    assert client.post(f"/v1/sweeps/{sweep['id']}/cancel").status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/cancel")])
def test_an_unknown_sweep_is_not_found(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, f"/v1/sweeps/{uuid7()}{path}")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/sweep-not-found")


def test_any_field_of_the_specification_is_swept_and_a_misspelt_one_is_answered_with_the_nearest(
    client: httpx.Client,
) -> None:
    parameters = {"keep_weights": [True, False], "threshold": [0.25, 0.5]}

    sweep = _submit(client, parameters=parameters)
    refused = client.post("/v1/sweeps", json={**GRID, "parameters": {"learning_rat": [0.1]}})

    assert len(sweep["jobs"]) == 4
    assert sweep["jobs"][0]["parameters"] == {"keep_weights": True, "threshold": 0.25}
    assert refused.status_code == 422
    assert "did you mean `learning_rate`?" in refused.text


@pytest.mark.parametrize("path", ["/v1/sweeps", "/v1/sweeps/{0}"])
def test_the_objective_is_any_metric_and_a_misspelt_one_is_answered_with_the_nearest(
    client: httpx.Client, database: Database, path: str
) -> None:
    sweep = _submit(client)
    attempt = queue_driver.claim(database, UUID(sweep["jobs"][0]["job_id"])).attempt
    epoch = EpochMetrics.of(0, 0.1, {"rmse": 0.5})
    queue_driver.record_progress(database, attempt, factories.make_progress(epoch))

    answers = [
        client.get(path.format(sweep["id"]), params=params).json()
        for params in ({"metric": "rmse"}, {"metric": "rmse", "mode": "max"}, {})
    ]
    refused = client.get(path.format(sweep["id"]), params={"metric": "rmsee"})

    [least, greatest, default] = [answer["data"][0] if "data" in answer else answer for answer in answers]
    assert (least["objective"], least["mode"], greatest["mode"]) == ("rmse", "min", "max")
    assert least["best"]["value"] == greatest["best"]["value"] == 0.5
    assert (default["objective"], default["mode"], default["best"]) == ("evaluation_accuracy", "max", None)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/unknown-metric")
    assert "did you mean `rmse`?" in refused.json()["detail"]
