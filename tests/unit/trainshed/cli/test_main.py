"""The command line as a whole: the server that it uses, help, and errors."""

import json
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from shared.settings import Settings
from tests.support.command_line import CommandLine
from tests.support.fake_api import make_problem
from trainshed.local.processes import environment

# Ctrl-C, when a module is about to be imported
INTERRUPTED = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from trainshed_program import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    # at the start, half-way, of the program itself, and of a command that runs
    [
        "trainshed",
        "pydantic",
        "httpx",
        "typer",
        "trainshed.cli.watching",
        "trainshed.local.database",
        "alembic",
    ],
)
def test_a_program_that_is_interrupted_while_it_is_loaded_says_nothing(module: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(module=module), "migrate"],
        env=environment(Settings(data_dir=tmp_path)),
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_an_unknown_job_is_one_line_and_exit_code_2(cli: CommandLine) -> None:
    job_id = uuid4()
    result = cli.run("show", job_id)
    assert result.stderr == f"Error: there is no job {job_id}\n"
    assert (result.stdout, result.exit_code) == ("", 2)


def test_an_unreachable_server_is_one_line_and_exit_code_1(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainshed.connection._FIRST_CONTACT_S", 0.0)
    cli.api.faults = [httpx.ConnectError("[Errno 111] Connection refused")]
    result = cli.run("jobs")
    assert result.stderr.startswith("Error: the server at http://127.0.0.1:8000 cannot be reached")
    assert len(result.stderr.splitlines()) == 1
    assert (result.stdout, result.exit_code) == ("", 1)


@pytest.mark.parametrize(("options", "host"), [((), "two.test"), (("--url", "http://one.test"), "one.test")])
def test_the_server_is_that_of_the_setting_unless_an_option_names_another(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], host: str
) -> None:
    monkeypatch.setenv("TRAINSHED_URL", "http://two.test")
    cli.run("jobs", *options)
    assert cli.api.last.url.host == host


def test_the_version_is_shown(cli: CommandLine) -> None:
    assert cli.run("--version").stdout.startswith("trainshed 0.")


def test_without_a_command_the_help_is_shown(cli: CommandLine) -> None:
    result = cli.run()
    assert "Usage" in result.output
    assert result.exit_code == 2


def test_a_mistyped_command_is_answered_with_the_nearest(cli: CommandLine) -> None:
    result = cli.run("trian")
    assert "Did you mean 'train'" in result.stderr
    assert result.exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--url", "http://one.test", "--api-key", "secret", "keys", "list"),
        ("keys", "--url=http://one.test", "--api-key=secret", "list"),
        ("keys", "list", "--url", "http://one.test", "--api-key", "secret"),
    ],
)
def test_the_server_and_the_key_may_be_named_anywhere(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    cli.run(*arguments)
    assert cli.api.last.url.host == "one.test"
    assert cli.api.last.headers["Authorization"] == "Bearer secret"


def test_after_a_separator_nothing_is_an_option(cli: CommandLine) -> None:
    assert "'--url' is not a job" in cli.run("show", "--", "--url").stderr


def test_with_json_the_servers_error_is_a_document_on_stderr(cli: CommandLine) -> None:
    job_id = uuid4()
    result = cli.run("show", job_id, "--json")
    error = json.loads(result.stderr)["error"]
    assert (error["status"], error["title"], error["detail"]) == (
        404,
        "a problem",
        f"there is no job {job_id}",
    )
    assert (result.stdout, result.exit_code, len(result.stderr.splitlines())) == ("", 2, 1)


@pytest.mark.parametrize(("options", "told"), [((), True), (("--json",), False)])
def test_a_long_wait_for_the_server_is_told_except_with_json(
    cli: CommandLine, caplog: pytest.LogCaptureFixture, options: tuple[str, ...], told: bool
) -> None:
    busy = make_problem(503, "the database does not answer")
    busy.headers["Retry-After"] = "3"
    cli.api.faults = [busy]
    assert cli.run("jobs", *options).exit_code == 0
    lines = [record.getMessage() for record in caplog.records if record.name == "trainshed"]
    server = "Waiting for the server at http://127.0.0.1:8000: the database does not answer."
    assert lines == ([server] if told else [])


@pytest.mark.parametrize(
    ("arguments", "kind", "detail"),
    [
        (("show", "nosuch"), "usage", "'nosuch' is not a job"),
        (("train", "--epochs", "0"), "validation", "--epochs: must be 1 to 1,000, not 0"),
        (("jobs", "--nosuch"), "no-such-option", "No such option: --nosuch"),
        (("show",), "missing-parameter", "Missing argument 'JOB'"),
        (("trian",), "usage", "No such command 'trian'"),
    ],
)
def test_with_json_an_error_before_the_request_has_the_same_form(
    cli: CommandLine, arguments: tuple[str, ...], kind: str, detail: str
) -> None:
    result = cli.run(*arguments, "--json")
    error = json.loads(result.stderr)["error"]
    assert error["type"] == kind
    assert detail in error["detail"]
    assert set(error) == {"type", "title", "detail"}
    assert (result.stdout, result.exit_code) == ("", 2)


@pytest.mark.parametrize("command", ["", "train", "keys", "keys create", "webhooks change"])
def test_the_help_shows_no_type_after_a_switch(cli: CommandLine, command: str) -> None:
    help_text = cli.run(*command.split(), "--help").stdout
    assert "--help" in help_text
    assert "bool" not in help_text


def test_the_help_shows_the_range_of_a_number(cli: CommandLine) -> None:
    help_text = " ".join(cli.run("train", "--help").stdout.replace("│", " ").split())
    assert "Passes over the training images, 1 to 1,000." in help_text
    assert "0 to 1, count" in help_text
