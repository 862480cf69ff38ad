"""`trainshed model`."""

import json
import re
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from tests.support.command_line import CommandLine
from tests.support.fake_api import make_job, make_success
from trainshed.cli.main import app


def test_a_model_is_shown(cli: CommandLine) -> None:
    cli.api.add(make_success(make_job()))
    assert "Output Shape" in cli.run("model", "last").stdout
    assert json.loads(cli.run("model", "last", "--json").stdout)["parameters"] == 5_994


def test_a_model_is_downloaded_into_a_file(cli: CommandLine, tmp_path: Path) -> None:
    cli.api.add(make_success(make_job()))
    file = tmp_path / "mine.onnx"
    result = cli.run("model", "last", "--download", "onnx", "--output", file)
    assert result.stderr == f"Wrote {file}.\n"
    assert file.read_bytes() == b"the model's file"
    assert cli.api.last.url.params["name"] == "model.onnx"


def test_a_download_is_named_after_the_model_by_default(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = make_success(make_job())
    cli.api.add(job)
    cli.run("model", "last", "--download", "keras")
    assert [file.name for file in tmp_path.iterdir()] == [f"model-{job.model_id}.keras"]


def test_a_model_for_tensorflow_js_is_a_folder(cli: CommandLine, tmp_path: Path) -> None:
    cli.api.add(make_success(make_job()))
    folder = tmp_path / "digits"
    for _ in range(2):  # the second time, the folder exists
        result = cli.run("model", "last", "--download", "tfjs", "--output", folder)
        assert result.stderr == f"Wrote {folder}.\n"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        "model.json": b"the model's file",
        "weights.bin": b"the model's file",
    }


def test_an_output_without_a_download_is_refused(cli: CommandLine) -> None:
    result = cli.run("model", "last", "--output", "x")
    assert result.stderr == "Error: --output needs --download: keras, onnx, tfjs, or the name of a file\n"
    assert result.exit_code == 2


def test_a_file_that_cannot_be_written_is_an_error(cli: CommandLine, tmp_path: Path) -> None:
    cli.api.add(make_success(make_job()))
    result = cli.run("model", "last", "--download", "keras", "--output", tmp_path / "none" / "x")
    assert "cannot be written: No such file or directory" in result.stderr
    assert result.exit_code == 2


def test_a_download_is_written_to_stdout(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cli.api.add(make_success(make_job()))
    result = cli.run("model", "last", "--download", "onnx", "--output", "-")
    assert (result.stdout_bytes, result.stderr, list(tmp_path.iterdir())) == (b"the model's file", "", [])
    assert (
        "give one of them" in cli.run("model", "last", "--download", "onnx", "--output", "-", "--json").stderr
    )
    assert "is a folder" in cli.run("model", "last", "--download", "tfjs", "--output", "-").stderr


def test_a_description_alone_is_stored(url: str, model_id: UUID) -> None:
    for text, shown in (("mine", "mine"), ("", "-")):
        changed = CliRunner().invoke(app, ["model", str(model_id), "--description", text, "--url", url])
        again = CliRunner().invoke(app, ["model", str(model_id), "--url", url])
        for result in (changed, again):
            assert re.findall(r"Description +(\S+)", result.stdout) == [shown]
