"""A shell completes ids, names and aliases that the server knows."""

import httpx
import pytest
from typer.testing import CliRunner

from tests.support.command_line import CommandLine
from tests.support.fake_api import make_job
from trainshed.cli.formatting import short_id
from trainshed.cli.main import app


def completed(cli: CommandLine, *words: str) -> list[str]:
    """The values that bash offers for the last word."""
    line = " ".join(("trainshed", *words))
    variables = {"_TRAINSHED_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    result = CliRunner().invoke(app, [], obj=cli.api.connect, prog_name="trainshed", env=variables)
    return result.stdout.split()


@pytest.mark.parametrize("command", ["show", "cancel", "watch", "delete", "logs"])
def test_jobs_are_completed(cli: CommandLine, command: str) -> None:
    job = make_job()
    cli.api.add(job)
    assert completed(cli, command, '""') == ["last", short_id(job.id)]
    assert completed(cli, command, short_id(job.id)[:5]) == [short_id(job.id)]
    assert completed(cli, command, str(job.id)[:20]) == [str(job.id)]


def test_workers_are_completed(cli: CommandLine) -> None:
    assert completed(cli, "jobs", "--worker", "h") == ["host:42"]
    assert completed(cli, "workers", "history", "h") == ["host:42"]


def test_the_server_of_the_line_is_asked(cli: CommandLine) -> None:
    completed(cli, "--url", "http://one.test", "show", "l")
    assert cli.api.last.url.host == "one.test"


def test_without_a_server_nothing_is_offered_and_nothing_is_said(cli: CommandLine) -> None:
    cli.api.faults = [httpx.ConnectError("refused")] * 100
    assert completed(cli, "queues", "pause", "d") == []
    assert completed(cli, "model", "c") == []
    assert completed(cli, "sweep", "show", "l") == []


def test_a_server_that_does_not_respond_is_waited_for_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    from trainshed.cli import completion

    options: list[dict[str, object]] = []

    def connect(url: str | None = None, **given: object) -> object:
        options.append(given)
        return cli.api.connect(url)

    monkeypatch.setattr(completion, "Client", connect)
    variables = {"_TRAINSHED_COMPLETE": "complete_bash", "COMP_WORDS": "trainshed show l", "COMP_CWORD": "2"}
    CliRunner().invoke(app, [], prog_name="trainshed", env=variables)
    assert options == [{"timeout_s": 0.5, "patience_s": 0.0, "api_key": None}]
