"""Several jobs are chosen by ids or filters, shown, and changed only after a confirmation."""

import json

import pytest

from tests.support.command_line import CommandLine
from tests.support.fake_api import make_failure, make_job, make_success


def test_jobs_are_cancelled_by_tag_after_confirmation(cli: CommandLine) -> None:
    tagged = [cli.api.add(make_job(tags=("old",))) for _ in range(2)]
    cli.api.add(make_job())
    refused = cli.run("cancel", "--tag", "old")
    assert "nothing is cancelled without a confirmation: add --yes" in refused.stderr
    assert all(str(job_id)[-8:] in refused.stderr for job_id in tagged)
    assert refused.exit_code == 2
    document = json.loads(cli.run("cancel", "--tag", "old", "--yes", "--json").stdout)
    assert document == {"cancelled": list(map(str, tagged[::-1])), "failed": []}


@pytest.mark.parametrize(("answer", "left", "code"), [(True, 0, 0), (False, 2, 1)])
def test_in_a_terminal_it_is_asked(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, answer: bool, left: int, code: int
) -> None:
    for _ in range(2):
        cli.api.add(make_failure(make_job()))
    questions: list[str] = []

    def ask(question: str, *, err: bool, abort: bool) -> None:
        questions.append(question)
        assert err
        if abort and not answer:
            raise SystemExit(1)

    monkeypatch.setattr("trainshed.cli.selection.has_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", ask)
    assert cli.run("delete", "--state", "failed").exit_code == code
    assert questions == ["Delete 2 jobs?"]
    assert len(cli.api.states) == left


def test_only_jobs_to_which_the_action_applies_match_a_filter(cli: CommandLine) -> None:
    cli.api.add(make_success(make_job(tags=("a",))))
    cli.api.add(make_job(tags=("a",)))
    failed = cli.api.add(make_failure(make_job(tags=("a",))))
    document = json.loads(cli.run("retry", "--tag", "a", "--yes", "--json", "--detach").stdout)
    assert document["retried"] == [str(failed)]
    assert len(document["submitted"]) == 1


def test_each_job_succeeds_or_fails_on_its_own(cli: CommandLine) -> None:
    ended, queued = cli.api.add(make_failure(make_job())), cli.api.add(make_job())
    result = cli.run("delete", ended, queued, "--yes")
    assert result.stderr == f"Error: job {queued} is queued\n1 job deleted.\n"
    assert result.exit_code == 1


@pytest.mark.parametrize("arguments", [(), ("last", "--tag", "a")])
def test_it_must_be_clear_which_jobs(cli: CommandLine, arguments: tuple[str, ...]) -> None:
    cli.api.add(make_job())
    result = cli.run("cancel", *arguments)
    assert result.stderr.startswith("Error: which jobs?")
    assert result.exit_code == 2


def test_no_match_is_said(cli: CommandLine) -> None:
    assert cli.run("cancel", "--tag", "none").stderr == "No jobs match.\n"
    assert json.loads(cli.run("cancel", "--tag", "none", "--json").stdout) == {"cancelled": [], "failed": []}
