"""Commands that look at jobs, workers and models, and those that end jobs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from shared.lifecycle import JobState
from shared.schemas import JobDetail
from tests.support.command_line import CommandLine
from tests.support.fake_api import FakeApi, make_cancellation, make_failure, make_job, make_success


@pytest.fixture
def cli() -> CommandLine:
    return CommandLine(FakeApi())


def test_jobs_are_listed_newest_first(cli: CommandLine) -> None:
    ids = [cli.api.add(make_job()) for _ in range(3)]
    result = cli.run("jobs")
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == [
        str(one)[-8:] for one in ids[::-1]
    ]
    assert result.exit_code == 0


def test_as_many_jobs_are_listed_as_were_asked_for(cli: CommandLine) -> None:
    for _ in range(5):
        cli.api.add(make_job())
    assert len(json.loads(cli.run("jobs", "--limit", 3, "--json").stdout)) == 3


def test_jobs_are_listed_by_state(cli: CommandLine) -> None:
    cli.api.add(make_job())
    failed = cli.api.add(make_job(state=JobState.FAILED))
    listed = json.loads(cli.run("jobs", "--state", "failed", "--json").stdout)
    assert [job["id"] for job in listed] == [str(failed)]


def test_no_jobs_are_said_to_be_none_and_nothing_is_on_stdout(cli: CommandLine) -> None:
    result = cli.run("jobs")
    assert (result.stdout, result.stderr) == ("", "No jobs.\n")
    assert cli.run("jobs", "--state", "failed").stderr == "No such jobs.\n"
    assert cli.run("jobs", "--json").stdout == "[]\n"


def test_a_succeeded_job_is_shown_with_its_evaluation(cli: CommandLine) -> None:
    cli.api.add(make_success(make_job()))
    result = cli.run("show", "last")
    assert "succeeded" in result.stdout
    assert "Confusion matrix" in result.stdout


def test_a_job_that_is_not_done_is_shown_without_an_evaluation(cli: CommandLine) -> None:
    cli.api.add(make_job())
    assert "Confusion matrix" not in cli.run("show", "last").stdout
    assert json.loads(cli.run("show", "last", "--json").stdout)["evaluation"] is None


def test_a_job_and_its_evaluation_are_one_document(cli: CommandLine) -> None:
    job = make_success(make_job())
    cli.api.add(job)
    document = json.loads(cli.run("show", job.id, "--json").stdout)
    assert document["id"] == str(job.id)
    assert document["evaluation"]["accuracy"] == 0.98


@pytest.mark.parametrize(
    ("end", "code"), [(make_success, 0), (make_failure, 1), (make_cancellation, 3)], ids=["0", "1", "3"]
)
def test_the_exit_code_of_watching_is_how_the_job_ended(
    cli: CommandLine, end: Callable[[JobDetail], JobDetail], code: int
) -> None:
    cli.api.add(end(make_job()))
    assert cli.run("watch", "last").exit_code == code
    assert cli.run("watch", "last", "--json").exit_code == code


def test_a_job_is_cancelled(cli: CommandLine) -> None:
    job_id = cli.api.add(make_job())
    result = cli.run("cancel", "last")
    assert result.stderr == f"Job {job_id} is cancelled.\n"
    assert result.exit_code == 0


def test_a_finished_job_is_submitted_again_and_followed(cli: CommandLine) -> None:
    job_id = cli.api.add(make_failure(make_job()))
    result = cli.run("retry", "last", "--json")
    assert json.loads(result.stdout)["retry_of"] == str(job_id)
    assert result.exit_code == 0


def test_workers_are_listed(cli: CommandLine) -> None:
    assert "host:42" in cli.run("workers").stdout
    assert json.loads(cli.run("workers", "--json").stdout)[0]["id"] == "host:42"


def test_no_workers_are_said_to_be_none(cli: CommandLine) -> None:
    cli.api.workers = ()
    assert "`trainshed worker`" in cli.run("workers").stderr


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
    assert cli.api.last.url.params["format"] == "onnx"


def test_a_downloads_name_is_the_models(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = make_success(make_job())
    cli.api.add(job)
    cli.run("model", "last", "--download", "keras")
    assert [file.name for file in tmp_path.iterdir()] == [f"model-{job.model_id}.keras"]


def test_an_output_without_a_download_is_refused(cli: CommandLine) -> None:
    result = cli.run("model", "last", "--output", "x")
    assert result.stderr == "Error: --output needs --download keras or --download onnx\n"
    assert result.exit_code == 2


def test_a_file_that_cannot_be_written_is_an_error(cli: CommandLine, tmp_path: Path) -> None:
    cli.api.add(make_success(make_job()))
    result = cli.run("model", "last", "--download", "keras", "--output", tmp_path / "none" / "x")
    assert "cannot be written: No such file or directory" in result.stderr
    assert result.exit_code == 2


def test_a_job_that_is_not_there_is_one_line_and_exit_code_2(cli: CommandLine) -> None:
    job_id = uuid4()
    result = cli.run("show", job_id)
    assert result.stderr == f"Error: there is no job {job_id}\n"
    assert (result.stdout, result.exit_code) == ("", 2)


def test_a_server_that_is_away_is_one_line_and_exit_code_1(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainshed.connection._FIRST_CONTACT_S", 0.0)
    cli.api.troubles = [httpx.ConnectError("[Errno 111] Connection refused")]
    result = cli.run("jobs", "--json")
    assert result.stderr.startswith("Error: the server at http://trainshed.test cannot be reached")
    assert len(result.stderr.splitlines()) == 1
    assert (result.stdout, result.exit_code) == ("", 1)


def test_the_server_is_named_by_an_option_or_the_environment(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.run("jobs", "--url", "http://one.test")
    assert cli.api.last.url.host == "one.test"
    monkeypatch.setenv("TRAINSHED_URL", "http://two.test")
    cli.run("jobs")
    assert cli.api.last.url.host == "two.test"


def test_the_version_is_shown(cli: CommandLine) -> None:
    assert cli.run("--version").stdout.startswith("trainshed 0.")


def test_without_a_command_there_is_help(cli: CommandLine) -> None:
    result = cli.run()
    assert "Usage" in result.output
    assert result.exit_code == 2


def test_a_mistyped_command_is_answered_with_the_nearest(cli: CommandLine) -> None:
    result = cli.run("trian")
    assert "Did you mean 'train'" in result.stderr
    assert result.exit_code == 2


def test_help_loads_no_database_no_arrays_and_no_web_server() -> None:
    heavy = {"sqlalchemy", "alembic", "numpy", "celery", "redis", "uvicorn", "fastapi", "tensorflow"}
    script = "import sys, trainshed.cli.main; print(*(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not heavy & set(loaded.stdout.split())
