"""The pulse of a pool process: shows its parent that Python runs in it, and which attempt it runs.

A step may hold Python's lock for ever (a deadlock in C code), and a process may be stopped (SIGSTOP): then no
thread of it can notice that, so its parent does. The pulse is the time of a file's last change, which depends
on no clock: the parent only sees that it changes.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self
from uuid import UUID

from shared.store.transitions import AttemptId

_INTERVAL_S = 1.0
_MAX_LOOK_S = 1.0  # that one look adds to a silence: the parent may have been suspended with its pool
_MAX_BYTES = 60  # of a job's id and the number of an attempt


class Pulse:
    """The file that a pool process touches each second, from its start on.

    The thread has nothing else to do: any other of the process may have to wait, for the database, for the
    disk or for whoever reads the log, for longer than a silence may last.
    """

    def __init__(self, file: Path) -> None:
        """Create the file, which only this user may read."""
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Beat from now on."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, and close the file."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._file)

    @contextmanager
    def of_attempt(self, attempt: AttemptId) -> Iterator[None]:
        """Show that this attempt runs, for as long as the block does."""
        self._write(f"{attempt.job_id} {attempt.number}")
        try:
            yield
        finally:
            self._write("")

    def _write(self, text: str) -> None:
        with suppress(OSError):  # a full disk: the beats need no room on it
            os.pwrite(self._file, text.encode().ljust(_MAX_BYTES), 0)

    def _run(self) -> None:
        while not self._closing.wait(_INTERVAL_S):
            with suppress(OSError):
                os.utime(self._file)


class PulseReader:
    """What a parent sees of the pulse of a pool process."""

    def __init__(self, file: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Read from a file descriptor, which `close` closes."""
        self._file = file
        self._clock = clock
        self._looked_at = clock()
        self._beat = os.fstat(file).st_mtime_ns
        self._silence_s = 0.0

    @classmethod
    def adopt(cls, process_id: str, clock: Callable[[], float] = time.monotonic) -> Self | None:
        """Open the file of a pool process and remove its name; return None while there is none.

        A process that has no pulse yet is not ready for jobs.
        """
        try:
            file = os.open(path(process_id), os.O_RDONLY)
        except FileNotFoundError:
            return None
        path(process_id).unlink(missing_ok=True)
        return cls(file, clock)

    def look(self) -> float:
        """Return for how many seconds the process has been silent; call this often.

        Time counts only while it is looked at, so that of a suspension of this host no second is counted.
        """
        now, beat = self._clock(), os.fstat(self._file).st_mtime_ns
        if beat == self._beat:
            self._silence_s += min(now - self._looked_at, _MAX_LOOK_S)
        else:
            self._beat, self._silence_s = beat, 0.0
        self._looked_at = now
        return self._silence_s

    def attempt(self) -> AttemptId | None:
        """Return the attempt that the process runs; None if it runs none."""
        fields = os.pread(self._file, _MAX_BYTES, 0).split()
        return AttemptId(UUID(fields[0].decode()), int(fields[1])) if fields else None

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def path(process_id: str) -> Path:
    """Return the file of a pool process with this id, which nobody outside of its worker can guess."""
    return Path(tempfile.gettempdir()) / f"trainshed-{process_id}.pulse"
