"""What has happened to a job, on the command line."""

import json

import httpx
import pytest

from tests.support.command_line import CommandLine
from tests.support.factories import make_epoch
from tests.support.fake_api import FakeApi, make_event, make_job, make_life
from trainshed.cli.events import describe


@pytest.fixture
def line() -> CommandLine:
    return CommandLine(FakeApi())


def _add(line: CommandLine) -> str:
    job_id = line.api.add(*make_life(make_job()))
    line.api.events[job_id] = [make_event(job_id, seq) for seq in range(1, 6)]
    line.api.no_streams = True
    return str(job_id)


def test_events_are_listed_one_a_line(line: CommandLine) -> None:
    result = line.run("events", _add(line))
    assert result.exit_code == 0
    assert [row.split()[0] for row in result.stdout.splitlines()] == ["1", "2", "3", "4", "5"]


def test_events_are_listed_after_one_that_is_known(line: CommandLine) -> None:
    result = line.run("events", _add(line), "--after", 3)
    assert [row.split()[0] for row in result.stdout.splitlines()] == ["4", "5"]


def test_events_are_one_json_document(line: CommandLine) -> None:
    found = json.loads(line.run("events", _add(line), "--json").stdout)
    assert [event["seq"] for event in found] == [1, 2, 3, 4, 5]


def test_events_that_are_followed_are_a_json_document_a_line(line: CommandLine) -> None:
    result = line.run("events", _add(line), "--follow", "--json")
    assert [json.loads(row)["seq"] for row in result.stdout.splitlines()] == [1, 2, 3, 4, 5]


def test_following_ends_when_the_job_is_finished(line: CommandLine) -> None:
    result = line.run("events", _add(line), "-f")
    assert len(result.stdout.splitlines()) == 5
    assert "finished" in result.stderr


def test_events_of_all_jobs_are_followed_each_with_its_job(line: CommandLine) -> None:
    event = make_event(make_job().id, 7, type="claimed")
    line.api.troubles = [
        httpx.Response(
            200,
            headers={"Content-Type": "text/event-stream"},
            text=f"data: {event.model_dump_json()}\nid: 9\n\n",
        )
    ]
    result = line.run("events", "--follow")
    assert result.stdout.split()[:2] == [str(event.job_id)[-8:], "7"]
    assert "there is nothing at /v1/stream" in result.stderr  # says the fake API to the next connection


@pytest.mark.parametrize("options", [(), ("--follow", "--after", 3)])
def test_events_of_all_jobs_that_are_not_just_followed_are_refused(
    line: CommandLine, options: tuple[object, ...]
) -> None:
    result = line.run("events", *options)
    assert result.exit_code == 2
    assert "which job?" in result.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "submitted"}, "submitted"),
        ({"type": "claimed", "data": {"worker": "host:42"}}, "claimed          worker host:42"),
        (
            {"type": "epochs_recorded", "data": {"epochs": [make_epoch(0).model_dump(mode="json")]}},
            "epochs_recorded  epoch 1  loss 1.0000  accuracy 0.5000  val_loss 1.1000  val_accuracy 0.4000",
        ),
        ({"type": "failed", "data": {"message": "it\nbroke"}}, "failed           message it broke"),
    ],
)
def test_an_event_is_told_in_one_line(changes: dict[str, object], words: str) -> None:
    told = describe(make_event(make_job().id, 7, **changes))
    assert told == f"   7  2026-01-02 03:04:05.000  {words}"
