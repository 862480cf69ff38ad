"""Stops the programs of a local stack when the process that started them was killed and cannot do it itself.

The guardian is a process of its own. It reads the programs' process ids from a pipe whose other end only the
stack holds, so it sees the stack's death as the end of its input. It also holds the stack's lock on the data
folder, so that the next stack waits until everything is gone. Standard library only: it starts in 20 ms.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

_GRACE_S = 20.0
_INTERVAL_S = 0.05


class Guardian:
    """The stack's end of the pipe."""

    def __init__(self, lock_fd: int) -> None:
        """Start the guardian.

        Args:
            lock_fd: the file descriptor that holds the stack's lock.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            pass_fds=[lock_fd],
            start_new_session=True,
            text=True,
        )

    def watch(self, name: str, pid: int) -> None:
        """Have a program stopped with the others, in place of one of the same name; the newest goes first."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it was killed: the stack can do without
            self._process.stdin.write(f"{name} {pid}\n")
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """End the guardian; nothing is left to be stopped."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Read process ids until the stack is gone, then end what is left of them."""
    programs: dict[str, int] = {}
    for line in sys.stdin:
        name, pid = line.split()
        programs[name] = int(pid)
    for pid in reversed(programs.values()):
        _stop(pid)


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that has ended, and whose parent has not noticed, is none."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # it is gone just now, or this system has no /proc
        return not os.path.isdir("/proc/self")


def _stop(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(_INTERVAL_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
