"""`trainshed events`."""

import json
from datetime import timedelta

import httpx
import pytest

from tests.support.command_line import CommandLine, Interrupting
from tests.support.factories import make_epoch
from tests.support.fake_api import T0, make_event, make_job, make_states
from trainshed.cli.events import describe


def _add(cli: CommandLine) -> str:
    job_id = cli.api.add(*make_states(make_job()))
    cli.api.events[job_id] = [make_event(job_id, seq) for seq in range(1, 6)]
    cli.api.no_streams = True
    return str(job_id)


def test_events_are_listed_one_per_line(cli: CommandLine) -> None:
    result = cli.run("events", _add(cli))
    assert result.exit_code == 0
    assert [row.split()[0] for row in result.stdout.splitlines()] == ["1", "2", "3", "4", "5"]


def test_events_are_listed_after_a_number(cli: CommandLine) -> None:
    result = cli.run("events", _add(cli), "--after", 3)
    assert [row.split()[0] for row in result.stdout.splitlines()] == ["4", "5"]


def test_listed_events_are_one_json_document(cli: CommandLine) -> None:
    events = json.loads(cli.run("events", _add(cli), "--json").stdout)
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5]


def test_followed_events_are_one_json_document_per_line(cli: CommandLine) -> None:
    result = cli.run("events", _add(cli), "--follow", "--json")
    assert [json.loads(row)["seq"] for row in result.stdout.splitlines()] == [1, 2, 3, 4, 5]


def test_following_ends_when_the_job_is_finished(cli: CommandLine) -> None:
    result = cli.run("events", _add(cli), "-f")
    assert len(result.stdout.splitlines()) == 5
    assert "finished" in result.stderr


def test_ctrl_c_ends_the_command_and_not_the_job(cli: CommandLine) -> None:
    job_id = _add(cli)
    cli.api.pauses = Interrupting()
    cli.api.faults = [httpx.ConnectError("refused"), httpx.ConnectError("refused")]
    result = cli.run("events", job_id, "--follow")
    assert (result.stdout, result.stderr, result.exit_code) == ("", "", 130)


def test_followed_events_of_all_jobs_name_their_job(cli: CommandLine) -> None:
    event = make_event(make_job().id, 7, type="claimed")
    cli.api.faults = [
        httpx.Response(
            200,
            headers={"Content-Type": "text/event-stream"},
            text=f"data: {event.model_dump_json()}\nid: 9\n\n",
        )
    ]
    result = cli.run("events", "--follow")
    assert result.stdout.split()[:2] == [str(event.job_id)[-8:], "7"]
    assert "there is nothing at /v1/stream" in result.stderr  # the fake API's response to the next connection


@pytest.mark.parametrize("options", [(), ("--follow", "--after", 3)])
def test_events_of_all_jobs_can_only_be_followed(cli: CommandLine, options: tuple[object, ...]) -> None:
    result = cli.run("events", *options)
    assert result.exit_code == 2
    assert "which job?" in result.stderr


@pytest.mark.parametrize(
    ("changes", "details"),
    [
        ({"type": "submitted"}, "submitted"),
        ({"type": "claimed", "data": {"worker": "host:42"}}, "claimed          worker host:42"),
        ({"type": "succeeded", "data": {"accuracy": 0.123456}}, "succeeded        accuracy 0.1235"),
        ({"type": "failed", "data": {"message": "it\nbroke"}}, "failed           message it broke"),
        ({"type": "failed", "data": {"message": "\x1b[2Jgone"}}, "failed           message ?[2Jgone"),
    ],
)
def test_an_event_is_described_in_one_line(changes: dict[str, object], details: str) -> None:
    line = describe(make_event(make_job().id, 7, **changes))
    assert line.plain == f"   7  {T0.astimezone():%Y-%m-%d %H:%M:%S.000 %Z}  {details}"


def test_progress_is_a_line_a_phase_and_one_for_the_epochs_between_two_phases() -> None:
    def at(seconds: int) -> str:
        return f"{T0 + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.%fZ}"

    numbers = ((0, 2), (1, 3), (2, 4), (3, 6))
    epochs = [make_epoch(number).summary | {"at": at(seconds)} for number, seconds in numbers]
    phases = [{"phase": "training", "at": at(1)}, {"phase": "evaluating", "at": at(5)}]
    data = {"phases": phases, "epochs": epochs}
    text = describe(make_event(make_job().id, 7, type="progress", data=data))
    metrics = (
        "loss 0.3333  accuracy 0.8333  val_loss 0.3667  val_accuracy 0.8000",
        "loss 0.2500  accuracy 0.8750  val_loss 0.2750  val_accuracy 0.8500",
    )
    lines = (  # seconds, and what happened
        (1, "training"),
        (4, f"epochs 1 to 3; the last:  {metrics[0]}"),
        (5, "evaluating"),
        (6, f"epoch 4  {metrics[1]}"),
    )
    assert text.plain.splitlines() == [
        f"   7  {(T0 + timedelta(seconds=age)).astimezone():%Y-%m-%d %H:%M:%S.000 %Z}  {'progress':16} {line}"
        for age, line in lines
    ]
