"""One stack a data folder."""

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trainshed.errors import StackError, StackRunning
from trainshed.local.lock import StackLock

URL = "http://127.0.0.1:8000"


def leave_a_dead_holder(folder: Path) -> int:
    """As if a stack was killed: the lock's file names it, and a child of it still holds the lock."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (folder / "stack.lock").write_text(json.dumps({"url": URL, "pid": dead.pid}))
    descriptor = os.open(folder / "stack.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def test_a_second_stack_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    with StackLock(tmp_path, URL):
        with pytest.raises(StackRunning, match=f"{tmp_path} already: {URL}, process {os.getpid()}") as caught:
            StackLock(tmp_path, "http://127.0.0.1:8001").__enter__()
        assert (caught.value.url, caught.value.pid) == (URL, os.getpid())


def test_a_folder_can_be_locked_again_after_the_end(tmp_path: Path) -> None:
    for url in (f"{URL}/with/a/longer/path", URL):
        with StackLock(tmp_path, url):
            assert json.loads((tmp_path / "stack.lock").read_text())["url"] == url


def test_two_folders_have_two_locks(tmp_path: Path) -> None:
    with StackLock(tmp_path / "a", URL), StackLock(tmp_path / "b", URL):
        pass


def test_what_a_killed_stack_left_is_waited_for(tmp_path: Path) -> None:
    descriptor = leave_a_dead_holder(tmp_path)
    threading.Timer(0.2, os.close, [descriptor]).start()
    with StackLock(tmp_path, URL, patience_s=10):
        pass


def test_what_a_killed_stack_left_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    descriptor = leave_a_dead_holder(tmp_path)
    with pytest.raises(StackError, match="was killed, and what it had started does not end"):
        StackLock(tmp_path, URL, patience_s=0).__enter__()
    os.close(descriptor)


def test_a_lock_that_names_nobody_yet_is_waited_for(tmp_path: Path) -> None:
    descriptor = leave_a_dead_holder(tmp_path)
    os.ftruncate(descriptor, 0)
    with pytest.raises(StackError, match="does not end"):
        StackLock(tmp_path, URL, patience_s=0).__enter__()
    os.close(descriptor)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=r"cannot be written to.*TRAINSHED_DATA_DIR"):
        StackLock(tmp_path / "file", URL).__enter__()
