"""Jobs, workers and queues managed with the client and the command line, on the API and each database."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from shared.db.engine import Database
from shared.lifecycle import JobState
from shared.schemas import BatchAction, WaitingFor
from tests.support import queue_driver, registry
from tests.support.servers import RedisServer
from trainshed import Client
from trainshed.cli.main import app
from trainshed.errors import TrainshedApiError


@pytest.fixture
def server(api: httpx.Client) -> Iterator[Client]:
    with Client(str(api.base_url)) as server:
        yield server


class CommandLine:
    """Runs commands against the API of the test."""

    def __init__(self, url: str) -> None:
        self._url = url

    def run(self, *arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], obj=self._connect)
        assert result.exit_code == 0, result.output
        return result

    def json(self, *arguments: object) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def _connect(self, url: str | None, **options: Any) -> Client:
        return Client(self._url, **options)


@pytest.fixture
def cli(api: httpx.Client) -> CommandLine:
    return CommandLine(str(api.base_url))


def _messages(redis: RedisServer, queue: str = "default") -> int:
    with redis.client() as client:
        return int(str(client.llen(queue)))


def test_jobs_are_edited_cloned_listed_and_deleted(server: Client, database: Database) -> None:
    ended = queue_driver.failed(database, name="first", tags=("a",))
    assert server.edit(ended, tags=("b",)).tags == ("b",)
    clone = server.clone(ended, epochs=9, name="second")
    assert [job.id for job in server.jobs(tag="b", sort="created_at", page_size=1)] == [ended, clone.id]
    server.delete(ended)
    assert [job.id for job in server.jobs(tag="b", sort="created_at")] == [clone.id]
    assert server.counts().states[JobState.QUEUED] == 1


def test_a_batch_returns_the_status_of_each_job(server: Client, database: Database) -> None:
    ended, queued = queue_driver.failed(database), queue_driver.submit(database)
    first, second = server.batch(BatchAction.RETRY, [ended, queued])
    assert (first.status, second.status) == (202, 409)
    assert first.new_id is not None
    assert server.job(first.new_id).retry_of == ended


def test_resuming_a_queue_sends_its_queued_jobs(
    server: Client, database: Database, redis: RedisServer
) -> None:
    registry.worker(database)
    job_id = queue_driver.submit(database)
    assert server.pause("default").paused
    with pytest.raises(AssertionError, match="could not be claimed"):
        queue_driver.claim(database, job_id)
    assert server.job(job_id).waiting_for is WaitingFor.PAUSED
    assert _messages(redis) == 0

    assert not server.resume("default").paused

    assert _messages(redis) == 1
    assert server.job(job_id).waiting_for is None
    queue_driver.claim(database, job_id)


def test_a_worker_is_drained_and_undrained(server: Client, database: Database) -> None:
    name = registry.worker(database, id="host:1")
    assert server.drain(name).state == "draining"
    assert [(worker.id, worker.state) for worker in server.workers()] == [(name, "draining")]
    assert server.undrain(name).state == "online"
    with pytest.raises(TrainshedApiError, match="no worker"):
        server.drain("nobody?")


def test_the_command_line_lists_jobs_by_filters(cli: CommandLine, database: Database) -> None:
    first, second = queue_driver.failed(database, name="Wide"), queue_driver.submit(database, tags=("t",))
    assert [job["id"] for job in cli.json("jobs", "--state", "failed", "--name", "wide")] == [str(first)]
    assert [job["id"] for job in cli.json("jobs", "--tag", "t", "--after", "2020-01-01")] == [str(second)]
    assert len(cli.json("jobs", "--state", "failed", "--state", "queued", "--sort", "created_at")) == 2
    assert cli.json("jobs", "--before", "2020-01-01T12:00") == []


def test_the_command_line_edits_clones_and_deletes(cli: CommandLine, database: Database) -> None:
    job_id = queue_driver.failed(database, name="old", tags=("a",))
    assert cli.json("edit", job_id, "--name", "", "--tag", "b")["tags"] == ["b"]
    assert "has name (none), tags (none)" in cli.run("edit", job_id, "--tag", "").stderr
    waiting = queue_driver.submit(database)
    assert (
        "queue gpu, priority high" in cli.run("edit", waiting, "--queue", "gpu", "--priority", "high").stderr
    )
    cli.run("cancel", waiting)
    changed = ("--set", "epochs=9", "--set", "optimizer=sgd", "-s", "seed=null")
    clone = cli.json("clone", job_id, *changed, "--name", "new", "--detach")
    assert (clone["spec"]["epochs"], clone["spec"]["optimizer"], clone["name"]) == (9, "sgd", "new")
    assert cli.json("delete", job_id, "--yes") == {"deleted": [str(job_id)], "failed": []}
    cancelled = queue_driver.cancelled(database)
    assert cli.run("delete", cancelled, "--yes").stderr == "1 job deleted.\n"


def test_the_command_line_shows_and_changes_capacity(cli: CommandLine, database: Database) -> None:
    name = registry.worker(database)
    job_id = queue_driver.submit(database)
    assert "0/1" in cli.run("workers").stdout
    assert cli.run("workers", "drain", name).stderr == f"Worker {name} is drained: safe to stop.\n"
    assert cli.json("workers")[0]["state"] == "draining"
    assert "no worker serves the queue" in " ".join(cli.run("show", job_id).stdout.split())
    assert cli.json("workers", "undrain", name)["state"] == "online"
    assert "1 queued job" in cli.run("queues", "pause", "default").stderr
    assert "paused" in cli.run("queues").stdout
    assert cli.json("queues")[0]["paused"] is True
    assert "Queue default resumed." in cli.run("queues", "resume", "default").stderr
    assert "At most 3 of its jobs run" in cli.run("queues", "limit", "default", 3).stderr
    assert "0 of 3" in cli.run("queues").stdout
    assert cli.json("queues", "limit", "default", "none")["max_running"] is None


def test_a_queue_that_nothing_names_is_not_created_by_mistake(api: httpx.Client, database: Database) -> None:
    registry.worker(database, queues=("default",))
    for command in (["pause"], ["resume"], ["tenants"], ["limit"]):
        number = ["3"] if command == ["limit"] else []
        arguments = ["queues", *command, "defualt", *number, "--url", str(api.base_url)]
        result = CliRunner().invoke(app, arguments)
        assert result.stderr == "Error: there is no queue 'defualt': did you mean `default`?\n"
        assert result.exit_code == 2
    assert [queue["name"] for queue in api.get("/v1/queues").json()["data"]] == ["default"]


def test_many_jobs_are_chosen_by_their_queue_sweep_tag_and_state(
    cli: CommandLine, database: Database
) -> None:
    in_queue = [queue_driver.submit(database, queue="gpu") for _ in range(2)]
    sweep_id, in_sweep = queue_driver.submit_sweep(database, epochs=[1, 2, 3])
    tagged = queue_driver.submit(database, tags=("old",))
    other = queue_driver.submit(database)

    cli.run("cancel", "--queue", "gpu", "--yes")
    cli.run("cancel", "--sweep", str(sweep_id)[-8:], "--yes")
    cli.run("cancel", "--tag", "old", "--yes")

    cancelled = {job["id"] for job in cli.json("jobs", "--state", "cancelled")}
    assert cancelled == {str(job_id) for job_id in (*in_queue, *in_sweep, tagged)}
    cli.run("delete", "--state", "cancelled", "--yes")
    assert [job["id"] for job in cli.json("jobs")] == [str(other)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_of_each_shell_is_printed(shell: str) -> None:
    # the shell requests it from the program, with an environment variable
    result = CliRunner().invoke(app, [], env={"_ROOT_COMPLETE": f"source_{shell}"}, prog_name="root")
    assert result.exit_code == 0
    assert "_ROOT_COMPLETE" in result.stdout


def test_commands_are_completed() -> None:
    environment = {"_TRAINSHED_COMPLETE": "complete_bash", "COMP_WORDS": "trainshed work", "COMP_CWORD": "1"}
    result = CliRunner().invoke(app, [], env=environment, prog_name="trainshed")
    assert set(result.stdout.split()) == {"worker", "workers"}
