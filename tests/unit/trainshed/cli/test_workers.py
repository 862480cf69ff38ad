"""`trainshed workers`. (Its other commands and `queues`: tests/integration/test_operations.py.)"""

import json

from shared.lifecycle import AttemptOutcome, WorkerState
from tests.support.command_line import CommandLine, rendered_lines
from tests.support.fake_api import make_worker, make_worker_attempt
from trainshed.cli.worker_tables import history_table


def test_workers_are_listed(cli: CommandLine) -> None:
    assert "host:42" in cli.run("workers").stdout
    assert json.loads(cli.run("workers", "--json").stdout)[0]["id"] == "host:42"


def test_an_empty_list_of_workers_is_a_message(cli: CommandLine) -> None:
    cli.api.workers = ()
    assert "`trainshed worker`" in cli.run("workers").stderr


def test_stopped_workers_are_listed_on_demand(cli: CommandLine) -> None:
    cli.api.workers = (
        make_worker(id="host:1"),
        make_worker(id="host:2", state=WorkerState.STOPPED),
        make_worker(id="host:3", state=WorkerState.LOST),
    )
    listed = json.loads(cli.run("workers", "--json").stdout)
    assert [worker["id"] for worker in listed] == ["host:1", "host:3"]
    assert "host:2" in cli.run("workers", "--all").stdout
    cli.api.workers = cli.api.workers[1:2]
    none = cli.run("workers")
    assert (none.stdout, "workers --all` lists those that have stopped" in none.stderr) == ("", True)


def test_what_a_worker_has_run_is_listed(cli: CommandLine) -> None:
    cli.api.attempts = tuple(make_worker_attempt(number=number) for number in (3, 2, 1))
    assert len(cli.run("workers", "history", "host:42").stdout.splitlines()) == 5
    listed = json.loads(cli.run("workers", "history", "host:42", "--limit", 2, "--json").stdout)
    assert [attempt["number"] for attempt in listed] == [3, 2]
    assert cli.api.last.url.raw_path.startswith(b"/v1/workers/host%3A42/attempts")


def test_a_worker_that_has_run_nothing_has_a_message(cli: CommandLine) -> None:
    assert "has run nothing yet" in cli.run("workers", "history", "host:42").stderr


def test_an_attempt_of_a_history_is_a_row() -> None:
    attempts = [
        make_worker_attempt(name="first"),
        make_worker_attempt(outcome=AttemptOutcome.FAILED, error_code="gpu_oom"),
        make_worker_attempt(outcome=None, finished_at=None),
    ]
    done, failed, running = (line.split() for line in rendered_lines(history_table(attempts))[2:])
    assert done[1:4] == ["1", "first", "train"]
    assert done[-1] == "2.0"
    assert failed[-3:] == ["failed", "gpu_oom", "2.0"]
    assert running[-3:] == ["running", "-", "-"]
