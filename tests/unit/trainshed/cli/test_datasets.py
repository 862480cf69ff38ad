"""`trainshed datasets`, against a real API."""

import json

import pytest
from typer.testing import CliRunner

from shared.schemas import DatasetSummary
from tests.support.command_line import rendered_lines
from trainshed.cli.datasets import dataset_table
from trainshed.cli.main import app


def test_datasets_are_listed_with_their_sizes(url: str) -> None:
    listed = CliRunner().invoke(app, ["datasets", "--url", url])
    rows = {line.split()[0]: line for line in listed.stdout.splitlines()[2:]}
    assert rows["digits"].split()[1:3] == ["1,400", "397"]
    assert "5,500 training, 1,000 validation, 500 evaluation" in rows["mnist"]
    in_json = json.loads(CliRunner().invoke(app, ["datasets", "--url", url, "--json"]).stdout)
    assert [dataset["name"] for dataset in in_json] == list(rows)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_datasets_fit_the_terminal(width: int) -> None:
    dataset = DatasetSummary(
        name="fashion-mnist",
        class_names=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Ankle boot"),
        train_rows=55_000,
        test_rows=10_000,
        default_train_size=5_500,
        default_validation_size=1_000,
        default_evaluation_size=500,
        is_cached=False,
    )
    lines = rendered_lines(dataset_table([dataset]), width)
    assert max(map(len, lines)) <= width
    assert lines[2].startswith("fashion-mnist")
