"""Metrics over HTTP: of one job, of several, and compared."""

import csv
import json
import math
from io import StringIO
from typing import Any
from uuid import UUID

import httpx
import pytest
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.formats.epochs import EpochMetrics
from tests.support import factories, queue_driver


def _trained(database: Database, epochs: int, **spec: Any) -> UUID:
    attempt = queue_driver.running(database, spec=factories.make_spec(**spec))
    queue_driver.record(database, attempt, epochs)
    return attempt.job_id


def _comma_separated(*ids: object) -> str:
    return ",".join(map(str, ids))


def test_metrics_are_series_over_epochs(client: httpx.Client, database: Database) -> None:
    job_id, _ = queue_driver.succeeded(database)

    series = client.get(f"/v1/jobs/{job_id}/metrics").json()["series"]

    assert [metric["name"] for metric in series] == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert series[0] == {
        "name": "loss",
        "resolution": "epoch",
        "x": [0, 1, 2],
        "y": [factories.make_epoch(epoch).values["loss"] for epoch in range(3)],
        "total_points": 3,
        "downsampled": False,
        "min": None,
        "max": None,
    }


def test_metrics_are_series_over_steps(client: httpx.Client, database: Database) -> None:
    job_id, _ = queue_driver.succeeded(database)

    series = client.get(f"/v1/jobs/{job_id}/metrics", params={"resolution": "step"}).json()["series"]

    assert [(metric["name"], metric["x"]) for metric in series] == [
        ("loss", [0, 1, 2, 3, 4, 5]),
        ("accuracy", [0, 1, 2, 3, 4, 5]),
    ]


def test_only_the_named_metrics_are_returned(client: httpx.Client, database: Database) -> None:
    job_id = _trained(database, 2)

    body = client.get(f"/v1/jobs/{job_id}/metrics", params={"names": "val_loss,loss"}).json()

    assert [series["name"] for series in body["series"]] == ["loss", "val_loss"]


def test_metric_of_many_points_is_downsampled(client: httpx.Client, database: Database) -> None:
    job_id = _trained(database, 3)

    body = client.get(f"/v1/jobs/{job_id}/metrics", params={"resolution": "step", "max_points": 2}).json()

    loss = body["series"][0]
    assert (loss["x"], loss["total_points"], loss["downsampled"]) == ([2, 5], 6, True)
    assert len(loss["min"]) == len(loss["max"]) == 2


@pytest.mark.parametrize("path", ["/v1/jobs/{0}/metrics?", "/v1/metrics?jobs={0}&"])
@pytest.mark.parametrize(
    ("query", "x", "total"),
    [
        ("resolution=step&from=1&to=4", [1, 2, 3, 4], 4),
        ("resolution=step&from=4", [4, 5], 2),
        ("resolution=step&to=2", [0, 1, 2], 3),
        ("resolution=step&from=1&to=4&max_points=2", [2, 4], 4),
        ("resolution=epoch&from=1&to=1", [1], 1),
        ("from=2&to=1", [], 0),
        ("from=3", [], 0),
    ],
)
def test_a_range_is_returned_at_its_own_resolution(
    client: httpx.Client, database: Database, path: str, query: str, x: list[int], total: int
) -> None:
    job_id = _trained(database, 3)

    body = client.get(f"{path.format(job_id)}{query}").json()

    loss = body["series"][0] if "series" in body else body["data"][0]["series"][0]
    assert (loss["name"], loss["x"], loss["total_points"]) == ("loss", x, total)
    assert loss["downsampled"] == ("max_points" in query)


def test_values_of_a_range_are_those_among_all(client: httpx.Client, database: Database) -> None:
    path = f"/v1/jobs/{queue_driver.succeeded(database)[0]}/metrics?resolution=step"

    [everything, _] = client.get(path).json()["series"]
    [part, _] = client.get(f"{path}&from=2&to=4").json()["series"]

    assert part["y"] == everything["y"][2:5]


@pytest.mark.parametrize("path", ["/v1/jobs/{0}/metrics", "/v1/metrics?jobs={0}"])
def test_metrics_are_returned_as_tables(client: httpx.Client, database: Database, path: str) -> None:
    job_id = _trained(database, 2)
    url = path.format(job_id)

    table = client.get(url, params={**httpx.URL(url).params, "format": "csv"})
    lines = client.get(url, params={**httpx.URL(url).params, "format": "ndjson"})

    rows = list(csv.DictReader(StringIO(table.text)))
    assert table.headers["Content-Type"].startswith("text/csv")
    assert lines.headers["Content-Type"].startswith("application/x-ndjson")
    assert len(rows) == len(lines.text.splitlines()) == 8
    assert {row["job_id"] for row in rows} == {str(job_id)}
    assert [float(row["y"]) for row in rows] == [json.loads(line)["y"] for line in lines.text.splitlines()]


def test_metrics_of_several_jobs_are_in_the_requested_order(client: httpx.Client, database: Database) -> None:
    first, second = _trained(database, 1), _trained(database, 2)

    jobs = client.get(
        "/v1/metrics", params={"jobs": _comma_separated(second, first), "names": "loss"}
    ).json()["data"]

    assert [job["job_id"] for job in jobs] == [str(second), str(first)]
    assert [len(job["series"][0]["x"]) for job in jobs] == [2, 1]


def test_jobs_are_compared(client: httpx.Client, database: Database) -> None:
    fast, slow = _trained(database, 3, learning_rate=0.01), _trained(database, 2, learning_rate=0.001)
    evaluated, model = queue_driver.succeeded(database)

    comparison = client.get("/v1/compare", params={"jobs": _comma_separated(fast, slow, evaluated)}).json()

    assert [job["id"] for job in comparison["jobs"]] == [str(fast), str(slow), str(evaluated)]
    assert comparison["differing"] == {"learning_rate": [0.01, 0.001, 0.001]}
    loss = comparison["series"][0]
    assert (loss["name"], loss["x"]) == ("loss", [0, 1, 2])
    assert [len(y) for y in loss["y"]] == [3, 3, 3]
    assert (loss["y"][0][2] is None, loss["y"][1][2]) == (False, None)
    assert comparison["evaluations"][:2] == [None, None]
    assert comparison["evaluations"][2]["accuracy"] == model.evaluation.accuracy
    assert comparison["evaluations"][2]["misclassified"] == []


def test_jobs_of_different_kinds_are_compared(client: httpx.Client, database: Database) -> None:
    trained, model = queue_driver.succeeded(database)
    spec = factories.make_evaluate_spec(model.id, threshold=0.5)
    evaluating = queue_driver.submit(database, kind="evaluate", spec=spec, model_id=model.id)

    comparison = client.get("/v1/compare", params={"jobs": _comma_separated(trained, evaluating)}).json()

    assert comparison["differing"]["threshold"] == [None, 0.5]
    assert comparison["differing"]["epochs"] == [3, None]
    assert comparison["series"][0]["y"][1] == [None, None, None]


@pytest.mark.parametrize(
    "path",
    ["/v1/metrics?jobs={0}", "/v1/compare?jobs={0},{1}", "/v1/jobs/{0}/metrics", "/v1/metrics?jobs={1},{0}"],
)
def test_an_unknown_job_is_not_found(client: httpx.Client, database: Database, path: str) -> None:
    answer = client.get(path.format(uuid7(), queue_driver.submit(database)))

    assert answer.json()["type"] == "/problems/job-not-found"


@pytest.mark.parametrize("path", ["/v1/jobs/{0}/metrics?names={1}", "/v1/metrics?jobs={0}&names=loss,{1}"])
def test_an_unknown_metric_is_answered_with_the_nearest_one(
    client: httpx.Client, database: Database, path: str
) -> None:
    job_id = _trained(database, 1)

    answer = client.get(path.format(job_id, "acuracy"))

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/unknown-metric")
    assert "did you mean `accuracy`? Recorded are accuracy, loss, val_accuracy" in answer.json()["detail"]
    assert client.get(path.format(queue_driver.submit(database), "acuracy")).status_code == 200


def test_what_is_not_finite_is_null(client: httpx.Client, database: Database) -> None:
    attempt = queue_driver.running(database)
    steps = {"rate": [0.1, math.nan, 0.3, math.inf]}
    epoch = EpochMetrics.of(0, 0.1, {"mae": math.nan, "r2": 0.5}, steps)
    queue_driver.record_progress(database, attempt, factories.make_progress(epoch))
    path = f"/v1/jobs/{attempt.job_id}/metrics"

    series = client.get(path).json()["series"]
    [rate] = client.get(path, params={"resolution": "step"}).json()["series"]
    [coarse] = client.get(path, params={"resolution": "step", "max_points": 2}).json()["series"]
    table = client.get(path, params={"resolution": "step", "format": "csv"}).text

    assert {each["name"]: each["y"] for each in series} == {"mae": [None], "r2": [0.5]}
    assert rate["y"] == [0.1, None, 0.3, None]
    assert (coarse["y"], coarse["min"], coarse["max"]) == ([None, None], [0.1, 0.3], [0.1, None])
    assert [row["y"] for row in csv.DictReader(StringIO(table))] == ["0.1", "", "0.3", ""]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/metrics",
        "/v1/metrics?jobs=",
        "/v1/metrics?jobs=a",
        "/v1/compare?jobs={0}",
        "/v1/compare?jobs={0},{0}",
        "/v1/metrics?jobs={0}&names=-cost%0A",
        "/v1/metrics?jobs={0}&max_points=0",
        "/v1/metrics?jobs={0}&from=-1",
        "/v1/metrics?jobs={0}&to=2147483648",
        "/v1/metrics?jobs={0}&format=xml",
    ],
)
def test_invalid_request_is_refused(client: httpx.Client, path: str) -> None:
    answer = client.get(path.format(uuid7()))

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


def test_comparison_of_more_than_ten_jobs_is_refused(client: httpx.Client) -> None:
    assert (
        client.get(
            "/v1/compare", params={"jobs": _comma_separated(*(uuid7() for _ in range(11)))}
        ).status_code
        == 422
    )
