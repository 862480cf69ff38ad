"""Foreseen errors are a line each and an exit code. (Those of requests: test_submission.py.)"""

import pytest

from shared.lifecycle import TERMINAL
from tests.support.command_line import CommandLine
from tests.support.fake_api import FakeApi
from trainshed.cli.exit_codes import OF_STATE, ExitCode


def test_every_final_state_has_an_exit_code_of_its_own() -> None:
    assert set(OF_STATE) == TERMINAL
    assert len(set(OF_STATE.values())) == len(TERMINAL)
    assert ExitCode.USAGE not in OF_STATE.values()


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("TRAINSHED_PORT", "99999", "TRAINSHED_PORT 99999: Input should be less than or equal to 65535"),
        ("TRAINSHED_HEARTBEAT_S", "20", "HEARTBEAT_S (20) must be at most a third of LEASE_S (30)"),
        ("TRAINSHED_DATASETS", "{", 'error parsing value for field "datasets"'),
    ],
)
def test_a_setting_that_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    result = CommandLine(FakeApi()).run("up")
    assert result.stderr.startswith(f"Error: {complaint}")
    assert result.exit_code == 2
