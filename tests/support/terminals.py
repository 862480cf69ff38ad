"""Runs programs in a terminal of a given size, and returns what it shows."""

import codecs
import os
import pty
import re
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from tests.support.waiting import wait_until

# the moves that rich makes in a live display: up a line, and clear the line
_MOVES = re.compile(r"(\r?\n|\r|\x1b\[1A|\x1b\[2K|\x1b\[\?25[lh])")
_LINES = 50


class Terminal:
    """A program that runs in a terminal of its own, which reads no input.

    Attributes:
        written: what the program has written so far.
    """

    def __init__(self, command: Sequence[str], *, columns: int, environment: Mapping[str, str]) -> None:
        """Start the program, with these variables besides those of this process."""
        self._terminal, its_end = pty.openpty()
        size = {"COLUMNS": str(columns), "LINES": str(_LINES), "TERM": "xterm-256color"}
        variables = {**os.environ, **size, **environment}
        self._program = subprocess.Popen(
            command, stdin=its_end, stdout=its_end, stderr=its_end, env=variables
        )
        os.close(its_end)
        self.written = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str, timeout_s: float = 60.0) -> None:
        """Wait until the program has written a text."""
        wait_until(lambda: text in self.written, f"{text!r} is shown", timeout_s)

    def wait(self, timeout_s: float = 300.0) -> int:
        """Wait until the program ends, and return its exit status."""
        status = self._program.wait(timeout_s)
        self._reader.join(timeout_s)
        os.close(self._terminal)
        return status

    def kill(self) -> None:
        """End the program."""
        self._program.kill()
        self.wait()

    def screen(self) -> str:
        """Return what the terminal shows now, every line since the start, with its colours."""
        lines, row = [""], 0
        for part in _MOVES.split(self.written):
            match part:
                case "\n" | "\r\n":
                    row += 1
                    if row == len(lines):
                        lines.append("")
                case "\x1b[1A":
                    row = max(0, row - 1)
                case "\x1b[2K":
                    lines[row] = ""
                case "\r" | "\x1b[?25l" | "\x1b[?25h":
                    pass
                case text:
                    lines[row] += text
        return "\n".join(lines)

    def _read(self) -> None:
        decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        with suppress(OSError):  # at the end of its output
            while part := os.read(self._terminal, 65_536):
                self.written += decode(part)
