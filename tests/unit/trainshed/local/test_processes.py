"""Programs are started, watched and stopped with all that they started."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import psutil
import pytest

from shared.schemas.sprite_sources import SpriteSource
from shared.settings import Settings
from tests.support.waiting import wait_until
from trainshed.local.processes import Program, environment

FOREVER = "import signal, sys; print('up', flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"
PAUSE = "import signal; signal.pause()"
PARENT = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {PAUSE!r}]).pid); {FOREVER}"

Make = Callable[..., Program]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A factory of programs of Python code, which stops them at the end."""
    made = []

    def make(code: str, grace_s: float = 10.0, **variables: str) -> Program:
        command = [sys.executable, "-c", code]
        log = tmp_path / "logs" / "program.log"
        program = Program(
            "program", command, log=log, environment={**os.environ, **variables}, grace_s=grace_s
        )
        made.append(program)
        return program

    yield make
    for program in made:
        program.stop()


def is_up(program: Program) -> bool:
    return "up" in program.tail()


def started(program: Program) -> Program:
    program.start()
    wait_until(lambda: is_up(program), "the program is up")
    return program


def test_a_running_program_has_no_exit_reason(make: Make) -> None:
    program = started(make(FOREVER))
    assert program.exit_reason() == ""
    assert 0 < program.age_s < 60


def test_stopping_a_program_that_was_never_started_does_nothing(make: Make) -> None:
    make(FOREVER).stop()


@pytest.mark.parametrize(
    ("code", "reason"),
    [("raise SystemExit(3)", "exit code 3"), ("import os; os.kill(os.getpid(), 9)", "signal SIGKILL")],
)
def test_an_ended_program_has_an_exit_reason(make: Make, code: str, reason: str) -> None:
    program = make(code)
    program.start()
    assert wait_until(program.exit_reason, "the program ends") == reason


def test_a_stopped_program_is_terminated(make: Make) -> None:
    program = started(make(FOREVER))
    program.stop()
    assert program.exit_reason() == "signal SIGTERM"


def test_a_program_that_ignores_sigterm_is_killed(make: Make) -> None:
    program = started(make(STUBBORN, grace_s=0.1))
    began = monotonic()
    program.stop()
    assert program.exit_reason() == "signal SIGKILL"
    assert monotonic() - began < 5


def test_a_programs_children_end_with_it(make: Make) -> None:
    program = started(make(PARENT))
    child = psutil.Process(int(program.tail().split()[0]))
    program.stop()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child is gone")


def test_a_killed_programs_children_are_gone_after_its_restart(make: Make) -> None:
    program = started(make(PARENT))
    child = psutil.Process(int(program.tail().split()[0]))
    psutil.Process(program.pid).kill()
    wait_until(program.exit_reason, "the program is dead")
    assert child.is_running()
    program.restart()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child is gone")
    assert program.exit_reason() == ""


def test_a_child_in_a_group_of_its_own_is_gone_after_the_stop(make: Make) -> None:
    program = started(make(PARENT.replace("import signal;", "import os, signal; os.setpgid(0, 0);", 1)))
    child = psutil.Process(int(program.tail().split()[0]))
    wait_until(lambda: os.getpgid(child.pid) == child.pid, "the child heads a group, as a pool process does")
    program.stop()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child is gone")


def test_ctrl_c_in_the_terminal_does_not_reach_a_program(make: Make) -> None:
    program = started(make(FOREVER))
    assert os.getpgid(program.pid) == program.pid != os.getpgid(0)


def test_the_logs_of_the_last_five_runs_are_kept(make: Make) -> None:
    for number in range(8):
        program = make(f"print({number})")
        program.start()
        wait_until(program.exit_reason, "the program ends")
    logs = {file.name: file.read_text().strip() for file in program.log.parent.iterdir()}
    assert logs == {"program.log": "7", **{f"program.log.{age}": str(7 - age) for age in range(1, 6)}}


def test_a_restarted_program_appends_to_its_log(make: Make) -> None:
    program = make("print('again')")
    program.start()
    wait_until(program.exit_reason, "the program ends")
    program.restart()
    wait_until(program.exit_reason, "the program ends")
    assert program.log.read_text() == "again\nagain\n"


def test_the_tail_of_a_log_is_its_last_twelve_lines_with_errors(make: Make) -> None:
    program = make("import sys; [print(n) for n in range(5_000)]; sys.stdout.flush(); sys.exit('the end')")
    program.start()
    wait_until(program.exit_reason, "the program ends")
    lines = program.tail().splitlines()
    assert len(lines) == 12
    assert lines[-2:] == ["  4999", "  the end"]


def test_a_child_has_the_same_settings(tmp_path: Path, make: Make) -> None:
    sprite = SpriteSource(images_url="file:///a", labels_url="file:///b")
    settings = Settings(
        data_dir=tmp_path, lease_s=60.0, queues=("a", "b"), deterministic=False, datasets={"a": sprite}
    )
    code = "from shared.settings import Settings; print(Settings().model_dump_json())"
    program = make(code, **environment(settings))
    program.start()
    wait_until(program.exit_reason, "the program ends")
    assert json.loads(program.log.read_text()) == settings.model_dump(mode="json")


def test_a_childs_environment_contains_the_unmasked_keys() -> None:
    settings = Settings.model_validate(
        {"api_key": "ts_1_2", "api_keys": "the first of our keys,the second of our keys"}
    )
    variables = environment(settings)
    assert variables["TRAINSHED_API_KEY"] == "ts_1_2"
    assert variables["TRAINSHED_API_KEYS"] == "the first of our keys,the second of our keys"


def test_a_setting_of_the_environment_is_passed_on_unless_it_is_overridden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRAINSHED_PORT", "8123")
    monkeypatch.setenv("TRAINSHED_LEASE_S", "60")
    variables = environment(Settings().model_copy(update={"port": 8124}))
    assert variables["TRAINSHED_PORT"] == "8124"
    assert variables["TRAINSHED_LEASE_S"] == "60.0"
    assert variables["PATH"] == os.environ["PATH"]
    assert "TRAINSHED_HOST" not in variables
