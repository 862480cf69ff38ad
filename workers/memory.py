"""How much memory processes hold, as Linux counts it."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pids: Iterable[int]) -> int | None:
    """Return the bytes of memory that processes hold together; None where the system does not tell.

    Pages that they share count once for each of them.
    """
    pages = []
    for pid in pids:
        with suppress(OSError):  # it has just ended, or this is no Linux
            pages.append(int((_PROC / str(pid) / "statm").read_text().split()[1]))
    return sum(pages) * _PAGE_BYTES if pages else None
