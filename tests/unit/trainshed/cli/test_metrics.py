"""`trainshed metrics`, against a real API."""

import csv
import json
from io import StringIO
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from shared.db.engine import Database
from tests.support import factories, queue_driver
from trainshed.cli.main import app
from trainshed.cli.metrics import sparkline


@pytest.fixture
def job_id(database: Database) -> UUID:
    """A job that has trained three epochs."""
    return queue_driver.succeeded(database)[0]


def _run(url: str, *arguments: object) -> Result:
    result = CliRunner().invoke(app, ["metrics", *map(str, arguments), "--url", url])
    assert result.exit_code == 0, result.stderr
    return result


def test_each_metric_is_shown_with_its_ends_and_extremes(url: str, job_id: UUID) -> None:
    table = _run(url, job_id).stdout
    rows = {line.split()[1]: line.split() for line in table.splitlines()[2:]}
    assert set(rows) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert rows["loss"][0] == str(job_id)[-8:]
    assert rows["loss"][3:] == ["1.0000", "0.3333", "0.3333", "1.0000"]
    assert max(map(len, table.splitlines())) <= 80


def test_metrics_of_several_jobs_are_one_json_document(url: str, database: Database, job_id: UUID) -> None:
    other = queue_driver.succeeded(database)[0]
    jobs = json.loads(_run(url, other, job_id, "--name", "loss", "--json").stdout)
    assert [job["job_id"] for job in jobs] == [str(other), str(job_id)]
    assert [metric["name"] for job in jobs for metric in job["series"]] == ["loss", "loss"]


def test_points_are_written_as_csv_and_as_ndjson(url: str, job_id: UUID) -> None:
    options = (job_id, "--resolution", "step", "--max-points", 2)
    rows = list(csv.DictReader(StringIO(_run(url, *options, "--format", "csv").stdout)))
    lines = [json.loads(line) for line in _run(url, *options, "--format", "ndjson").stdout.splitlines()]
    assert (
        [row["name"] for row in rows] == [line["name"] for line in lines] == ["loss"] * 2 + ["accuracy"] * 2
    )
    assert [float(row["y"]) for row in rows] == [line["y"] for line in lines]


def test_a_range_of_epochs_or_steps_is_written(url: str, job_id: UUID) -> None:
    options = (job_id, "--name", "loss", "--from", 1, "--to", 2)
    for resolution in ("epoch", "step"):
        [job] = json.loads(_run(url, *options, "--resolution", resolution, "--json").stdout)
        assert job["series"][0]["x"] == [1, 2]


def test_a_job_without_metrics_has_no_row(url: str, database: Database) -> None:
    rows = _run(url, queue_driver.submit(database), queue_driver.succeeded(database)[0]).stdout.splitlines()[
        2:
    ]
    assert len(rows) == 4


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([0.0, 0.5, 1.0], "▁▅█"),
        ([1.0, 0.0], "█▁"),
        ([2.0], "▁"),
        ([1.0, 1.0], "▁▁"),
        ([step // 100 for step in range(300)], "▁" * 10 + "▅" * 10 + "█" * 10),
    ],
)
def test_a_sparkline_ranges_from_the_least_value_to_the_greatest(values: list[float], bars: str) -> None:
    assert sparkline(values).replace("▄", "▅") == bars


def test_a_job_without_points_is_told_why(url: str, database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    evaluation = queue_driver.submit(database, kind="evaluate", spec=factories.make_evaluate_spec(model.id))
    queued = queue_driver.submit(database)

    for job_id, reason in (
        (evaluation, f"is an evaluation, which has no curves: `trainshed show {str(evaluation)[-8:]}`."),
        (queued, "is queued and has finished no epoch."),
    ):
        result = _run(url, job_id)
        assert (result.stdout, result.stderr) == ("", f"Job {job_id} {reason}\n")
    assert json.loads(_run(url, queued, "--json").stdout)[0]["job_id"] == str(queued)
