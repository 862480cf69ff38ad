"""One stack per data folder."""

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trainshed.errors import StackError, StackRunning
from trainshed.local.lock import stack_lock

URL = "http://127.0.0.1:8000"


def leave_a_dead_holder(folder: Path) -> int:
    """Leave what a killed stack leaves: a lock file that names it, and a descriptor that holds the lock."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (folder / "stack.lock").write_text(json.dumps({"url": URL, "pid": dead.pid}))
    descriptor = os.open(folder / "stack.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def test_a_second_stack_is_refused_with_the_firsts_url_and_pid(tmp_path: Path) -> None:
    with stack_lock(tmp_path, URL):
        with pytest.raises(StackRunning, match=f"on {tmp_path}: {URL}, process {os.getpid()}") as caught:
            stack_lock(tmp_path, "http://127.0.0.1:8001").__enter__()
        assert caught.value.url == URL


def test_a_released_folder_can_be_locked_again(tmp_path: Path) -> None:
    for url in (f"{URL}/with/a/longer/path", URL):
        with stack_lock(tmp_path, url):
            assert json.loads((tmp_path / "stack.lock").read_text())["url"] == url


def test_two_folders_have_two_locks(tmp_path: Path) -> None:
    with stack_lock(tmp_path / "a", URL), stack_lock(tmp_path / "b", URL):
        pass


def test_the_programs_of_a_killed_stack_are_waited_for(tmp_path: Path) -> None:
    descriptor = leave_a_dead_holder(tmp_path)
    threading.Timer(0.2, os.close, [descriptor]).start()
    with stack_lock(tmp_path, URL, patience_s=10):
        pass


def test_waiting_for_a_killed_stacks_programs_has_a_timeout(tmp_path: Path) -> None:
    descriptor = leave_a_dead_holder(tmp_path)
    with pytest.raises(StackError, match="was killed, and the programs it started do not end"):
        stack_lock(tmp_path, URL, patience_s=0).__enter__()
    os.close(descriptor)


def test_a_lock_whose_holder_has_not_written_its_name_is_waited_for(tmp_path: Path) -> None:
    descriptor = leave_a_dead_holder(tmp_path)
    os.ftruncate(descriptor, 0)
    with pytest.raises(StackError, match="do not end"):
        stack_lock(tmp_path, URL, patience_s=0).__enter__()
    os.close(descriptor)


def test_an_unwritable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=r"cannot be written to.*TRAINSHED_DATA_DIR"):
        stack_lock(tmp_path / "file", URL).__enter__()
