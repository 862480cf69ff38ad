"""Exit codes of child processes, and their meanings in words."""

import os
import signal
from typing import Any


def exit_code(process: Any) -> int | None:
    """Return the exit code of a child process: negative for a signal, as in `subprocess`; None if it runs.

    A zombie is not reaped: Celery waits for the process in another thread, and would miss its end.
    """
    code: int | None = process._popen.returncode if process._popen is not None else None
    if code is not None:
        return code
    try:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None  # Celery has just reaped the process, and is about to set the code
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def how_it_ended(code: int) -> str:
    """Return in words how a process with this exit code ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        return f"was killed by signal {-code} (out of memory?)"
    try:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was killed by signal {-code}"
