"""`trainshed jobs`, `show` and `watch`."""

import json
from collections.abc import Callable

import pytest

from shared.lifecycle import JobState
from tests.support.command_line import CommandLine
from tests.support.fake_api import URL, make_attempt, make_cancellation, make_failure, make_job, make_success
from trainshed import JobDetail


def test_jobs_are_listed_newest_first(cli: CommandLine) -> None:
    ids = [cli.api.add(make_job()) for _ in range(3)]
    result = cli.run("jobs")
    assert [line.split()[0] for line in result.stdout.splitlines()[2:]] == [
        str(job_id)[-8:] for job_id in ids[::-1]
    ]
    assert result.exit_code == 0


def test_the_list_of_jobs_is_limited(cli: CommandLine) -> None:
    for _ in range(5):
        cli.api.add(make_job())
    assert len(json.loads(cli.run("jobs", "--limit", 3, "--json").stdout)) == 3


def test_jobs_are_listed_by_state(cli: CommandLine) -> None:
    cli.api.add(make_job())
    failed = cli.api.add(make_job(state=JobState.FAILED))
    listed = json.loads(cli.run("jobs", "--state", "failed", "--json").stdout)
    assert [job["id"] for job in listed] == [str(failed)]


def test_an_empty_list_of_jobs_is_a_message_on_stderr(cli: CommandLine) -> None:
    result = cli.run("jobs")
    assert (result.stdout, result.stderr) == ("", "No jobs.\n")
    assert cli.run("jobs", "--state", "failed").stderr == "No jobs match.\n"
    assert cli.run("jobs", "--json").stdout == "[]\n"


def test_a_succeeded_job_is_shown_with_its_evaluation(cli: CommandLine) -> None:
    cli.api.add(make_success(make_job()))
    result = cli.run("show", "last")
    assert "succeeded" in result.stdout
    assert "Confusion matrix" in result.stdout


def test_the_program_and_the_data_that_a_job_ran_with_are_shown(cli: CommandLine) -> None:
    attempt = make_attempt(versions={"trainshed": "0.1.0", "commit": "1234abcd"}, dataset_sha256="f" * 64)
    ran = make_success(make_job())
    cli.api.add(ran.model_copy(update={"attempts": (attempt,)}))
    facts = cli.run("show", "last").stdout
    assert "0.1.0, commit 1234abcd" in facts
    assert f"SHA-256 {'f' * 64}" in facts
    cli.api.add(make_success(make_job()))
    assert "SHA-256" not in cli.run("show", "last").stdout


def test_an_unfinished_job_is_shown_without_an_evaluation(cli: CommandLine) -> None:
    cli.api.add(make_job())
    assert "Confusion matrix" not in cli.run("show", "last").stdout
    assert json.loads(cli.run("show", "last", "--json").stdout)["evaluation"] is None


def test_a_job_and_its_evaluation_are_one_json_document(cli: CommandLine) -> None:
    job = make_success(make_job())
    cli.api.add(job)
    document = json.loads(cli.run("show", job.id, "--json").stdout)
    assert document["id"] == str(job.id)
    assert document["evaluation"]["accuracy"] == 0.98


@pytest.mark.parametrize(
    ("end", "code"), [(make_success, 0), (make_failure, 1), (make_cancellation, 3)], ids=["0", "1", "3"]
)
def test_the_exit_code_of_watch_is_that_of_the_jobs_final_state(
    cli: CommandLine, end: Callable[[JobDetail], JobDetail], code: int
) -> None:
    cli.api.add(end(make_job()))
    assert cli.run("watch", "last").exit_code == code
    assert cli.run("watch", "last", "--json").exit_code == code


@pytest.mark.parametrize("has_browser", [True, False])
def test_a_jobs_page_is_opened_and_its_address_printed(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, has_browser: bool
) -> None:
    opened: list[str] = []

    def open_browser(url: str) -> bool:
        opened.append(url)
        return has_browser

    monkeypatch.setattr("webbrowser.open", open_browser)
    address = f"{URL}/jobs/{cli.api.add(make_job())}"

    result = cli.run("open", "--url", URL)

    assert (result.stdout, opened) == (f"{address}\n", [address])
    assert bool(result.stderr) is not has_browser
    assert json.loads(cli.run("open", "last", "--url", URL, "--json").stdout) == {"url": address}
