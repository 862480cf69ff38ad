"""The resident memory of processes, as Linux counts it."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pids: Iterable[int]) -> int | None:
    """Return the resident memory of all these processes in bytes; None where the system does not report it.

    A shared page counts once for each process.
    """
    pages = []
    for pid in pids:
        with suppress(OSError):  # the process has just ended, or this is not Linux
            pages.append(int((_PROC / str(pid) / "statm").read_text().split()[1]))
    return sum(pages) * _PAGE_BYTES if pages else None
