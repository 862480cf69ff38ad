"""The program `trainshed`: Ctrl-C ends it with exit code 130 and without a word, also while it starts.

It lies outside the package, all of which Python imports before any of its modules: that takes half a second.
"""

import os
import signal
import sys
from types import FrameType

_INTERRUPTED = 130


def main() -> None:
    """Run the command that the arguments name."""
    is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # by `nohup`, or a shell's `&`
    if not is_ignored:
        signal.signal(signal.SIGINT, _end)
    from trainshed.cli.main import main as run

    try:
        if not is_ignored:  # commands say what becomes of the job
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    finally:
        if not is_ignored:
            signal.signal(signal.SIGINT, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)
