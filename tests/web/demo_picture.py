"""docs/demo.svg: what `trainshed demo` shows at its end in a terminal, from a run of it."""

import os
import pty
import subprocess
import sys
from contextlib import suppress
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.support.paths import ROOT

_FILE = ROOT / "docs" / "demo.svg"
_COLUMNS = 80
_RESULTS = "Evaluation on"  # the first words after the progress


def draw(data_dir: Path) -> None:
    """Run the demo in a terminal of 80 columns, and draw its results.

    Raises:
        RuntimeError: it failed, or showed no results.
    """
    _, found, results = _run(data_dir).rpartition(_RESULTS)
    if not found:
        raise RuntimeError("`trainshed demo` showed no results")
    console = Console(record=True, width=_COLUMNS, file=StringIO(), force_terminal=True, highlight=False)
    console.print(Text.from_ansi(found + results.rstrip()))
    console.save_svg(str(_FILE), title="make demo")


def _run(data_dir: Path) -> str:
    """Return what the demo writes to its terminal."""
    terminal, its_end = pty.openpty()
    environment = {**os.environ, "TRAINSHED_DATA_DIR": str(data_dir), "COLUMNS": str(_COLUMNS)}
    command = [sys.executable, "-m", "trainshed.cli.main", "demo"]
    environment["TERM"] = "xterm-256color"
    demo = subprocess.Popen(command, stdin=its_end, stdout=its_end, stderr=its_end, env=environment)
    os.close(its_end)
    written = bytearray()
    with suppress(OSError):  # at the end of its output
        while part := os.read(terminal, 65_536):
            written += part
    os.close(terminal)
    if demo.wait() != 0:
        raise RuntimeError(f"`trainshed demo` ended with status {demo.returncode}:\n{written.decode()}")
    return written.decode().replace("\r\n", "\n")
