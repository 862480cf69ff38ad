"""docs/demo.svg: what `trainshed demo` shows at its end in a terminal, from a run of it."""

import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.support.paths import ROOT
from tests.support.terminals import Terminal

_FILE = ROOT / "docs" / "demo.svg"
_COLUMNS = 80
_WAIT_S = 600.0
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
    command = [sys.executable, "-m", "trainshed.cli.main", "demo"]
    demo = Terminal(command, columns=_COLUMNS, environment={"TRAINSHED_DATA_DIR": str(data_dir)})
    if status := demo.wait(_WAIT_S):
        raise RuntimeError(f"`trainshed demo` ended with status {status}:\n{demo.written}")
    return demo.written.replace("\r\n", "\n")
