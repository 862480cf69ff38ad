"""The commands about results, against a real API."""

import json
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from shared.db.engine import Database
from shared.formats.results import MODEL, NewArtifact, Produced
from tests.support import factories, queue_driver
from tests.support.drawings import make_drawing
from trainshed.cli.main import app


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    file = tmp_path / "drawing.png"
    Image.fromarray(make_drawing()).save(file)
    return file


def _run(url: str, *arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--url", url])


@pytest.mark.usefixtures("model_id")
def test_the_newest_model_predicts_an_image(url: str, drawing: Path) -> None:
    result = _run(url, "predict", drawing)

    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "Three")
    [model] = json.loads(_run(url, "models", "--json").stdout)
    assert f"by model {model['id']}" in result.stdout
    [prediction] = json.loads(_run(url, "predict", drawing, "--json").stdout)["data"]
    assert prediction["prediction"] == 3


def test_a_model_is_given_an_alias_and_referred_to_by_it(url: str, model_id: UUID, drawing: Path) -> None:
    named = _run(url, "model", model_id, "--alias", "champion", "--description", "best", "--json")
    assert json.loads(named.stdout)["alias"] == "champion"
    assert "champion" in _run(url, "models").stdout
    predictions = json.loads(_run(url, "predict", drawing, "--model", "champion", "--json").stdout)
    assert predictions["model_id"] == str(model_id)

    unnamed = json.loads(_run(url, "model", "champion", "--alias", "", "--json").stdout)

    assert (unnamed["alias"], unnamed["description"]) == (None, "best")


def test_that_an_alias_moves_is_told(url: str, model_id: UUID, database: Database) -> None:
    better = queue_driver.succeeded(database)[1].id
    first, second = (f"{str(each)[-8:]} (accuracy 0." for each in (model_id, better))

    named = _run(url, "model", model_id, "--alias", "champion").stderr
    again = _run(url, "model", model_id, "--alias", "champion")
    moved = _run(url, "model", better, "--alias", "champion")
    renamed = _run(url, "model", better, "--alias", "best").stderr
    removed = _run(url, "model", better, "--alias", "").stderr

    assert named.startswith(f"champion: none -> {first}")
    assert again.stderr == ""
    assert moved.stderr.startswith(f"champion: {first}")
    assert f"-> {second}" in moved.stderr
    assert [line.split(":")[0] for line in renamed.splitlines()] == ["best", "champion"]
    assert renamed.splitlines()[1].endswith("-> none")
    assert removed.startswith(f"best: {second}")


def test_a_models_alias_and_description_are_always_shown(url: str, model_id: UUID) -> None:
    facts = dict(line.split(maxsplit=1) for line in _run(url, "model", model_id).stdout.splitlines()[:3])
    assert {name: value.strip() for name, value in facts.items()} == {
        "Model": str(model_id),
        "Alias": "-",
        "Description": "-",
    }
    _run(url, "model", model_id, "--alias", "champion", "--description", "the best of June")
    shown = _run(url, "model", "champion").stdout
    assert "the best of June" in shown


def test_models_are_listed_by_ids_that_commands_take(url: str, model_id: UUID) -> None:
    listed = _run(url, "models").stdout.splitlines()[2].split()[0]
    assert json.loads(_run(url, "model", listed, "--json").stdout)["id"] == str(model_id)


@pytest.mark.usefixtures("model_id")
def test_a_blank_image_has_no_digit(url: str, tmp_path: Path) -> None:
    blank = tmp_path / "blank.png"
    Image.new("L", (30, 30)).save(blank)

    assert _run(url, "predict", blank).stdout.startswith("No digit found: the image is blank")


@pytest.mark.usefixtures("model_id")
def test_a_file_that_is_missing_or_no_image_is_a_usage_error(url: str, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")

    assert _run(url, "predict", tmp_path / "none.png").exit_code == 2
    assert _run(url, "predict", text).exit_code == 2


def test_without_a_model_nothing_is_predicted(url: str, drawing: Path) -> None:
    assert _run(url, "predict", drawing).exit_code == 2
    assert _run(url, "models").stdout == ""
    assert _run(url, "models", "--json").stdout == "[]\n"


def test_jobs_are_compared_side_by_side(url: str, database: Database) -> None:
    fast, _ = queue_driver.succeeded(database)
    slow = queue_driver.submit(database, spec=factories.make_spec(learning_rate=0.5))

    result = _run(url, "compare", fast, slow)

    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    assert rows["learning_rate"] == ["0.001", "0.5"]
    assert rows["state"] == ["succeeded", "queued"]
    assert "epochs" not in rows
    differing = json.loads(_run(url, "compare", fast, slow, "--json").stdout)["differing"]
    assert differing == {"learning_rate": [0.001, 0.5]}


def test_a_single_job_cannot_be_compared(url: str, database: Database) -> None:
    job_id = queue_driver.submit(database)
    for arguments in ([job_id], [job_id, "last"]):
        result = _run(url, "compare", *arguments)
        assert result.stderr == "Error: compare at least two different jobs: `trainshed compare JOB JOB`\n"
        assert result.exit_code == 2


def test_misclassified_images_are_listed(url: str, database: Database) -> None:
    model = factories.make_model(spec=factories.make_spec(dataset="digits"))
    attempt = queue_driver.running(database)
    queue_driver.record(database, attempt, 3)
    queue_driver.succeed(database, attempt, model)
    wrong = factories.as_shown(model.evaluation).misclassified[0]

    listed = _run(url, "misclassified", attempt.job_id)
    only = json.loads(_run(url, "misclassified", attempt.job_id, "--label", wrong.label, "--json").stdout)

    assert listed.stdout.splitlines()[2].split()[:3] == [
        str(wrong.index),
        str(wrong.label),
        str(wrong.predicted),
    ]
    assert {image["label"] for image in only} == {wrong.label}
    assert only[0]["image"].startswith("data:image/png;base64,")
    assert (
        _run(url, "misclassified", attempt.job_id, "--label", 9, "--predicted", 9).stderr
        == "No misclassified images match.\n"
    )


@pytest.fixture
def regression(database: Database) -> UUID:
    """A job of other code that has left a model, values without classes, and no network of ours."""
    attempt = queue_driver.running(database)
    files = (NewArtifact("net.pt", b"a network", MODEL),)
    queue_driver.report(database, attempt, Produced(files, factories.make_regression()))
    return attempt.job_id


def test_results_of_other_code_are_shown(url: str, regression: UUID, database: Database) -> None:
    nothing = queue_driver.running(database)
    queue_driver.report(database, nothing, Produced())

    shown = _run(url, "show", regression)
    assert "Evaluation on 40 examples" in shown.stdout
    assert [line.split() for line in shown.stdout.splitlines() if line.startswith("r2")] == [
        ["r2", "-0.2500"]
    ]
    assert json.loads(_run(url, "show", regression, "--json").stdout)["evaluation"]["values"]["mae"] == 1.5
    assert "has no evaluation" in _run(url, "show", nothing.job_id).stdout
    assert json.loads(_run(url, "show", nothing.job_id, "--json").stdout)["evaluation"] is None

    compared = _run(url, "compare", regression, nothing.job_id).stdout.splitlines()
    assert ["evaluation_mae", "1.5000", "-"] in [line.split() for line in compared]


def test_a_model_of_other_code_is_shown_and_downloaded_and_does_not_predict(
    url: str, regression: UUID, drawing: Path, tmp_path: Path
) -> None:
    assert "net.pt" in _run(url, "model", regression).stdout
    assert "-" in _run(url, "models").stdout.splitlines()[2].split()
    downloaded = _run(url, "model", regression, "--download", "net.pt", "--output", tmp_path / "mine.pt")
    assert (downloaded.exit_code, (tmp_path / "mine.pt").read_bytes()) == (0, b"a network")

    absent = _run(url, "model", regression, "--download", "onnx", "--output", tmp_path / "model.onnx")
    refused = _run(url, "predict", drawing, "--model", regression)
    none = _run(url, "predict", drawing)
    outside = _run(url, "model", regression, "--download", "../net.pt")

    assert "no file model.onnx: its files are net.pt" in absent.stderr
    assert "not one of the networks that the API runs" in refused.stderr
    assert "there is no model yet that can predict" in none.stderr
    assert "not the name of a file" in outside.stderr
    assert outside.exit_code == 2
