"""Results go to stdout, messages to stderr."""

import json
import os

import pytest

from tests.support.fake_api import make_worker
from trainshed.cli.output import say, show, write_json


def test_results_go_to_stdout_and_messages_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show("a result", "another")
    say("a message")
    out, err = capsys.readouterr()
    assert (out, err) == ("a result\nanother\n", "a message\n")


def test_a_message_in_a_pipe_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    message = "word " * 50
    say(message)
    assert capsys.readouterr().err == f"{message}\n"


def test_markup_is_written_verbatim(capsys: pytest.CaptureFixture[str]) -> None:
    say("[red]not red[/red]")
    assert capsys.readouterr().err == "[red]not red[/red]\n"


def test_control_characters_of_a_message_do_not_reach_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("failed: \x1b[2Jgone\n\tagain")
    assert capsys.readouterr().err == "failed: ?[2Jgone\n        again\n"


def test_a_model_a_list_and_a_mapping_are_each_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    worker = make_worker()
    for document, expected in (
        (worker, worker.model_dump(mode="json")),
        ([worker], [worker.model_dump(mode="json")]),
        ({"a": 1}, {"a": 1}),
    ):
        write_json(document)
        assert json.loads(capsys.readouterr().out) == expected


def test_a_broken_pipe_of_a_result_is_left_to_the_group_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        with pytest.raises(BrokenPipeError):
            show("a result")
        os.dup2(os.open(os.devnull, os.O_WRONLY), writes)  # what is left of it is written when it is closed
