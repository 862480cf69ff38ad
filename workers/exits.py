"""How child processes have ended, as numbers and in words."""

import os
import signal
from typing import Any


def exit_code(process: Any) -> int | None:
    """Return how a child process has ended, as `subprocess` does: less than 0 for a signal; None if it runs.

    The process stays a zombie if it is one: Celery waits for it in another thread, and would miss its end.
    """
    code: int | None = process._popen.returncode if process._popen is not None else None
    if code is not None:
        return code
    try:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None  # Celery has just waited for it, and is about to set the code
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def how_it_ended(code: int) -> str:
    """Return how a process with this exit code ended, for people."""
    if code >= 0:
        return f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        return f"was killed by signal {-code} (out of memory?)"
    try:
        return f"was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"was killed by signal {-code}"
