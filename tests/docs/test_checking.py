"""A page is run in a real shell, and whatever differs from it is reported."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.checking import Outcome, check
from tests.docs.pages import examples
from tests.docs.terminal import Terminal

PORT = 8123


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    folder = tmp_path / "clone"
    folder.mkdir()
    with Terminal(folder, {"PATH": os.environ["PATH"]}, PORT) as terminal:
        yield terminal


def make_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def run(terminal: Terminal, *lines: str) -> list[Outcome]:
    return list(check(examples("\n".join(["```console", *lines, "```"])), terminal))


def problems(terminal: Terminal, *lines: str) -> list[str]:
    return [outcome.problem for outcome in run(terminal, *lines)]


def test_a_page_that_is_right_has_no_problem(terminal: Terminal) -> None:
    assert problems(terminal, "$ echo one; echo 7 two >&2", "one", "5 two", "$ false   # exit code 1") == [
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["$ echo one", "two"], "no such line here: two"),
        (["$ false"], "exit code 1, not 0"),
        (["$ true   # exit code 2"], "exit code 0, not 2"),
        (["$ no-such-command"], "exit code 127, not 0"),
        (["$ echo '{}'", '{"id": 1}'], "answer has no id"),
    ],
)
def test_whatever_differs_from_a_page_is_a_problem(terminal: Terminal, lines: list[str], says: str) -> None:
    [problem] = problems(terminal, *lines)
    assert says in problem


def test_variables_last_and_ids_are_those_of_this_run(terminal: Terminal) -> None:
    outcomes = run(
        terminal,
        '$ echo \'{"id": "01a22031-f3c4-7777-ad4e-000000000001"}\'   # comment',
        '{"id": "01a20000-0000-7000-8000-0000deadbeef"}',
        "$ JOB=01a20000-0000-7000-8000-0000deadbeef",
        "$ echo job $JOB > file && cat file",
        "job 01a20000-0000-7000-8000-0000deadbeef",
    )
    assert [outcome.problem for outcome in outcomes] == ["", "", ""]
    assert outcomes[2].output == "job 01a20000-0000-7000-8000-0000deadbeef\n"


def test_the_page_s_port_and_folder_are_those_of_the_terminal(terminal: Terminal) -> None:
    lines = ["$ echo 127.0.0.1:8000 > port; pwd; cat port", "~/trainshed", "127.0.0.1:8000"]
    assert problems(terminal, *lines) == [""]
    assert problems(terminal, f"$ grep -c {PORT} port", "1") == [""]


def test_what_cannot_be_run_is_not_run(terminal: Terminal) -> None:
    [outcome] = run(terminal, "$ touch ran; false   # needs Docker", "...")
    assert (outcome.problem, outcome.example.needs) == ("", "Docker")
    assert problems(terminal, "$ ls") == [""]
    assert run(terminal, "$ ls")[0].output == ""


def test_a_server_runs_until_the_terminal_is_closed(tmp_path: Path) -> None:
    make_program(tmp_path / "trainshed", "trap 'echo stopped >log; exit' INT; echo ready; sleep 60 & wait")
    with Terminal(tmp_path, {"PATH": os.environ["PATH"]}, PORT) as terminal:
        assert problems(terminal, "$ ./trainshed up", "ready", "...", "$ ls log   # exit code 2") == ["", ""]
    assert (tmp_path / "log").read_text() == "stopped\n"


def test_a_server_that_ends_is_a_problem(tmp_path: Path) -> None:
    make_program(tmp_path / "trainshed", "echo ready; exit 3")
    with Terminal(tmp_path, {"PATH": os.environ["PATH"]}, PORT) as terminal:
        [problem] = problems(terminal, "$ ./trainshed up", "never printed")
    assert problem == "it ended, with exit code 3"
