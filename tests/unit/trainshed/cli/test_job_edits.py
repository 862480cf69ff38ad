"""`trainshed cancel`, `retry` and `delete`. (`edit` and `clone`: tests/integration/test_operations.py.)"""

import json

import pytest

from tests.support.command_line import CommandLine
from tests.support.fake_api import make_failure, make_job


def test_a_job_is_cancelled(cli: CommandLine) -> None:
    job_id = cli.api.add(make_job())
    result = cli.run("cancel", "last")
    assert result.stderr == f"Job {job_id} is cancelled.\n"
    assert result.exit_code == 0


def test_a_retried_job_is_submitted_again_and_followed(cli: CommandLine) -> None:
    job_id = cli.api.add(make_failure(make_job()))
    result = cli.run("retry", "last", "--json")
    assert json.loads(result.stdout)["retry_of"] == str(job_id)
    assert result.exit_code == 0


def test_several_retried_jobs_are_followed_together(cli: CommandLine) -> None:
    ids = [cli.api.add(make_failure(make_job())) for _ in range(2)]
    result = cli.run("retry", *ids, "--yes")
    assert result.stderr == "2 jobs retried.\n"
    assert sum("succeeded" in line for line in result.stdout.splitlines()) == 2
    assert result.exit_code == 0


def test_a_job_that_cannot_be_deleted_is_an_error_of_the_server(cli: CommandLine) -> None:
    job_id = cli.api.add(make_job())
    result = cli.run("delete", job_id, "--yes")
    assert result.stderr == f"Error: job {job_id} is queued\n"
    assert (result.stdout, result.exit_code) == ("", 2)


def test_a_single_job_is_not_deleted_without_a_question(cli: CommandLine) -> None:
    job_id = cli.api.add(make_failure(make_job()))
    result = cli.run("delete", job_id)
    assert "nothing is deleted without a confirmation: add --yes" in result.stderr
    assert str(job_id)[-8:] in result.stderr
    assert result.exit_code == 2
    assert job_id in cli.api.states


def test_an_edit_of_nothing_names_what_can_be_changed(cli: CommandLine) -> None:
    result = cli.run("edit", cli.api.add(make_job()))
    assert result.stderr == "Error: there is nothing to change: give --name, --tag, --queue or --priority\n"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=5", "a job has no field `epoch`: did you mean `epochs`?"),
        ("epochs=x", "--set epochs: must be a number, 1 to 1,000, not x"),
        ("epochs", "'epochs' is not FIELD=VALUE, such as epochs=20"),
    ],
)
def test_a_mistake_in_what_a_clone_changes_is_explained(
    cli: CommandLine, override: str, message: str
) -> None:
    result = cli.run("clone", cli.api.add(make_job()), "--set", override)
    assert result.stderr == f"Error: {message}\n"
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("clone", "last", "--epochs", "5"),
            "No such option: --epochs; replace a field by `--set epochs=VALUE`",
        ),
        (("clone", "last", "--nosuch", "5"), "No such option: --nosuch"),
        (("queues", "limit", "default", "-1"), "'-1' is neither a number from 1 nor `none`"),
        (
            ("webhooks", "create", "https://example.org/", "--state", "queued"),
            "'succeeded', 'failed', 'cancelled'",
        ),
        (("webhooks", "create", "nope"), "URL: must be an http or https address"),
        (("keys", "create", ""), "NAME: must have at least 1 character"),
        (("model", "champion", "--alias", "Bad Alias"), "--alias: must have only lower-case letters"),
        (("jobs", "--limit", "0"), "Invalid value for '--limit': must be at least 1, not 0"),
        (
            ("train", "--model", "resnet"),
            "Invalid value for '--model': 'resnet' is not one of 'cnn', 'dense'.",
        ),
        (("clone", "last", "--set", "epochs=-1"), "--set epochs: must be 1 to 1,000, not -1"),
    ],
)
def test_an_error_names_what_the_command_has(
    cli: CommandLine, arguments: tuple[str, ...], message: str
) -> None:
    cli.api.add(make_job())
    result = cli.run(*arguments)
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert result.exit_code == 2


def test_a_time_that_is_over_is_told_and_one_to_come_is_not(cli: CommandLine) -> None:
    past = cli.run("train", "--detach", "--at", "2020-01-01T00:00Z")
    assert past.stderr.endswith("is in the past: the job may start at once.\n")
    assert "2020-01-0" in past.stderr
    assert cli.run("train", "--detach", "--at", "2126-01-01").stderr == ""
