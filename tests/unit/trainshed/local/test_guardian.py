"""The guardian stops a stack's programs when the stack was killed."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.paths import ROOT
from tests.support.waiting import wait_until
from trainshed.local.guardian import Guardian, is_running

pytestmark = pytest.mark.slow  # they start programs

# a program that writes its name into a file when it is terminated
PROGRAM = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # so that sigwait misses none
print("up", flush=True)
signal.sigwait([signal.SIGTERM])
with open(sys.argv[1], "a") as file:
    print(sys.argv[2], file=file)
"""

# a stack that starts two such programs and waits to be killed
STACK = """
import fcntl, os, signal, subprocess, sys
from trainshed.local.guardian import Guardian
lock = os.open(sys.argv[1], os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX)
guardian = Guardian(lock)
for name in ("first", "second"):
    command = [sys.executable, "-c", sys.argv[3], sys.argv[2], name]
    program = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE)
    program.stdout.readline()
    guardian.watch(name, program.pid)
    print(program.pid, flush=True)
print(guardian._process.pid, flush=True)
signal.pause()
"""


def start(folder: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """Start a stack; return it, its two programs and its guardian."""
    stack = subprocess.Popen(
        [sys.executable, "-c", STACK, folder / "lock", folder / "ended", PROGRAM],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert stack.stdout is not None
    with stack.stdout as output:
        return stack, [psutil.Process(int(output.readline())) for _ in range(3)]


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_killed_stacks_programs_are_terminated_in_reverse_order(tmp_path: Path) -> None:
    stack, processes = start(tmp_path)
    assert not any(map(is_gone, processes))
    stack.kill()
    stack.wait()
    wait_until(lambda: all(map(is_gone, processes)), "the programs and the guardian are gone")
    assert (tmp_path / "ended").read_text().split() == ["second", "first"]


def test_the_stacks_lock_is_held_until_its_programs_are_gone(tmp_path: Path) -> None:
    stack, [first, _, guardian] = start(tmp_path)
    first.suspend()  # so that it cannot end
    with (tmp_path / "lock").open() as lock:
        stack.kill()
        stack.wait()
        wait_until(lambda: (tmp_path / "ended").exists(), "the second program is terminated")
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        first.resume()
        wait_until(lambda: is_gone(guardian), "the guardian is gone")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_dismissed_guardian_stops_nothing(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        guardian = Guardian(lock.fileno())
        guardian.watch("this", os.getpid())
        guardian.dismiss()
    assert is_running(os.getpid())


def test_a_stack_works_without_its_guardian(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        guardian = Guardian(lock.fileno())
        guardian._process.kill()
        guardian._process.wait()
        guardian.watch("this", os.getpid())
        guardian.dismiss()


def test_a_zombie_is_not_running() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, "the child is a zombie")
    assert not is_running(child.pid)
    child.wait()
    assert not is_running(child.pid)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may signal every process")
def test_a_process_of_another_user_is_running() -> None:
    assert is_running(1)
