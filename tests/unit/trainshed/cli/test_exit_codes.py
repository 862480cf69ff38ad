"""Each expected error is one line and an exit code. (Invalid requests: test_submit.py.)"""

import json
import os
import subprocess
import sys

import pytest

from shared.lifecycle import TERMINAL
from tests.support.command_line import CommandLine
from tests.support.fake_api import FakeApi
from trainshed.cli.exit_codes import EXIT_CODES, ExitCode

THREE_NAMES = json.dumps(
    {
        "x": {
            "images_url": "https://x.org/i.png",
            "labels_url": "https://x.org/l",
            "class_names": ["a", "b", "c"],
        }
    }
)


def test_every_final_state_has_an_exit_code_of_its_own() -> None:
    assert set(EXIT_CODES) == TERMINAL
    assert len(set(EXIT_CODES.values())) == len(TERMINAL)
    assert ExitCode.USAGE not in EXIT_CODES.values()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TRAINSHED_PORT", "99999", "TRAINSHED_PORT: must be at most 65,535, not 99999"),
        ("TRAINSHED_HEARTBEAT_S", "20", "HEARTBEAT_S (20) must be at most a third of LEASE_S (30)"),
        ("TRAINSHED_DATASETS", "{", "TRAINSHED_DATASETS is not JSON: "),
        ("TRAINSHED_DATASETS", THREE_NAMES, "TRAINSHED_DATASETS: x.class_names: must have at least 10"),
    ],
)
def test_an_invalid_setting_is_named_in_the_error(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    result = CommandLine(FakeApi()).run("up")
    assert result.stderr.startswith(f"Error: {message}")
    assert result.exit_code == 2


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "trainshed.cli.main", "--version"]
    ended = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (ended.stderr, ended.returncode) == ("", 0)


def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "trainshed.cli.main", "--version"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.stderr == "Error: the output cannot be written: No space left on device\n"
    assert ended.returncode == 1
