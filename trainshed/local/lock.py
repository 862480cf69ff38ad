"""A lock that admits one local stack per data folder, and that the kernel releases when its holder dies."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import IO

from trainshed.errors import StackError, StackRunning
from trainshed.local.guardian import is_running

_POLL_INTERVAL_S = 0.1


@contextmanager
def stack_lock(data_dir: Path, url: str, *, patience_s: float = 60.0) -> Iterator[int]:
    """Lock a data folder for a `with` block, which gets the file descriptor that holds the lock.

    The lock belongs to the open file, not to the process (flock(2)), so a child that inherits the descriptor
    holds it too. The file names the stack's process and `url`, for the error message of a second stack.

    Raises:
        StackRunning: another stack runs on this folder.
        StackError: programs of a killed stack do not end within `patience_s` seconds, or the folder is not
            writable.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = (data_dir / "stack.lock").open("a+")
    except OSError as error:
        raise StackError(
            f"{data_dir} cannot be written to ({error.strerror}): set TRAINSHED_DATA_DIR to another"
        ) from error
    with file:
        _lock(file, data_dir, patience_s)
        file.truncate(0)
        json.dump({"url": url, "pid": os.getpid()}, file)
        file.flush()
        yield file.fileno()


def _lock(file: IO[str], data_dir: Path, patience_s: float) -> None:
    deadline = monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            _raise_if_running(file, data_dir)
        if monotonic() > deadline:
            raise StackError(
                f"an earlier stack on {data_dir} was killed, and the programs it started do not end"
            )
        sleep(_POLL_INTERVAL_S)


def _raise_if_running(file: IO[str], data_dir: Path) -> None:
    file.seek(0)
    try:
        holder = json.load(file)
    except ValueError:  # the holder has not written the file yet
        return
    if is_running(holder["pid"]):
        raise StackRunning(data_dir, holder["url"], holder["pid"])
