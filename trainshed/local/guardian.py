"""The guardian of a local stack, which stops the stack's programs if the stack's own process is killed.

The guardian is a process of its own. It reads the programs' process ids from a pipe whose other end only the
stack holds, so it sees the stack's death as the end of its input. It also holds the stack's lock on the data
folder, so that the next stack waits until every program has ended. Standard library only: it starts in 20 ms.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

_GRACE_PERIOD_S = 20.0
_POLL_INTERVAL_S = 0.05
_HAS_PROC = os.path.isdir("/proc/self")


class Guardian:
    """The stack's handle for its guardian process."""

    def __init__(self, lock_fd: int) -> None:
        """Start the guardian, which inherits the file descriptor of the stack's lock."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            pass_fds=[lock_fd],
            start_new_session=True,
            text=True,
        )

    def watch(self, name: str, pid: int) -> None:
        """Add a program to stop; it replaces a program of the same name. Programs stop in reverse order."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the guardian was killed, and the stack works without it
            self._process.stdin.write(f"{name} {pid}\n")
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """End the guardian without stopping anything."""
        self._process.kill()
        self._process.communicate()


def main() -> None:
    """Read process ids until the stack has ended, then stop the programs that still run."""
    programs: dict[str, int] = {}
    for line in sys.stdin:
        name, pid = line.split()
        programs[name] = int(pid)
    for pid in reversed(programs.values()):
        _stop(pid)


def is_running(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # the process has just ended, or this system has no /proc
        return not _HAS_PROC


def _stop(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_PERIOD_S
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(_POLL_INTERVAL_S)
    kill_session(pid)


def kill_session(leader: int) -> None:
    """Kill a program's process group and the other groups of its session, which a worker has."""
    with suppress(ProcessLookupError, PermissionError):  # the group is empty
        os.killpg(leader, signal.SIGKILL)
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()) if _HAS_PROC else ():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
