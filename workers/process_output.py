"""The output of a pool process and its libraries, as log lines with the attempt that printed them."""

import faulthandler
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TextIO

from shared import log

_log = log.get_logger(__name__)

_INTERVAL_S = 0.5
_MAX_BACKLOG_BYTES = 256 * 1024  # limit of unread output; older bytes are left out
_MAX_FILE_BYTES = 1024 * 1024
_MAX_LINES = 500  # lines logged with an attempt; further ones are in the worker's own log only
_TAIL_BYTES = 3_500
# how lines of absl and TensorFlow begin: `I0000 00:00:...`, or `2026-11-28 10:00:00.000000: I tensorflow/...`
_LEVEL = re.compile(r"(?:[\d-]{10} [\d:.]+: )?([IWEF])(?:\d{4} | \w+/)")
_NO_GPU = "failed call to cuInit"  # in TensorFlow's message if there is no driver
_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}


class ProcessOutput:
    """The file that stdout and stderr of this process write to, and the thread that reads it.

    A file, and not a pipe: a full pipe blocks its writer, and a thread of the same process cannot empty it
    while C code that writes holds the interpreter lock. If this process is killed, its parent reads the end
    of the file.
    """

    def __init__(self, file: Path, *, has_gpu: bool = True) -> None:
        """Create the file, which only this user may read.

        Args:
            has_gpu: if not, CUDA's message that there is no GPU is not logged as an error.
        """
        self._has_gpu = has_gpu
        self._file = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self._lock = threading.Lock()
        self._position = 0
        self._unfinished = b""
        self._attempt = Context()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process output", daemon=True)
        self._lines_left = 0  # lines that may still be logged with the attempt

    def close(self) -> None:
        """End the thread, and close the file; nothing may write to the file any more."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._file)

    def redirect(self) -> TextIO:
        """Redirect stdout and stderr of this process to the file; return a stream to the former stderr."""
        former = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(self._file, stream.fileno())
            if isinstance(stream, TextIOWrapper):  # else Python would write 8 KiB at a time
                stream.reconfigure(line_buffering=True)
        faulthandler.enable(all_threads=False)  # prints the traceback of a crash in C code
        return former

    def follow(self) -> None:
        """Start the thread, which logs the new output every half second."""
        self._thread.start()

    @contextmanager
    def of_attempt(self) -> Iterator[None]:
        """Log the block's output with the attempt that is bound to the calling thread's log lines."""
        self._begin(copy_context(), _MAX_LINES)
        try:
            yield
        finally:
            self._begin(Context(), 0)

    def collect(self) -> None:
        """Log the lines that were printed since the last call."""
        with self._lock:
            self._collect()

    def _run(self) -> None:
        while not self._closing.wait(_INTERVAL_S):
            try:
                self.collect()
            except Exception:  # such as a full disk: the next job's output needs this thread
                _log.exception("process output not read")

    def _begin(self, attempt: Context, max_lines: int) -> None:
        sys.stdout.flush()
        with self._lock:
            self._collect()
            self._emit(self._unfinished)
            self._empty()
            self._attempt, self._lines_left = attempt, max_lines

    def _collect(self) -> None:
        size = os.fstat(self._file).st_size
        if left_out := max(0, size - self._position - _MAX_BACKLOG_BYTES):
            self._position += left_out
            self._unfinished = b""
            self._log(logging.WARNING, f"{left_out:,} bytes of output were left out")
        data = self._unfinished + os.pread(self._file, size - self._position, self._position)
        self._position = size
        *lines, self._unfinished = data.split(b"\n")
        for line in lines:
            self._emit(line)
        if size > _MAX_FILE_BYTES:
            unfinished = self._unfinished
            self._empty()
            self._unfinished = unfinished

    def _empty(self) -> None:
        if self._position:
            os.ftruncate(self._file, 0)
        self._position, self._unfinished = 0, b""

    def _emit(self, line: bytes) -> None:
        text = _as_shown(line)
        if text:
            level = None if _NO_GPU in text and not self._has_gpu else _LEVEL.match(text)
            self._log(_LEVELS[level[1]] if level else logging.INFO, text)

    def _log(self, level: int, text: str) -> None:
        if self._lines_left == 0:
            # in an empty context: the calling thread may run an attempt, which has not printed this line
            Context().run(_log.log, level, text)
            return
        self._attempt.run(_log.log, level, text)
        self._lines_left -= 1
        if self._lines_left == 0:
            self._attempt.run(_log.warning, "further output of this attempt is in the worker's own log")


def path(process_id: str) -> Path:
    """Return the path of a pool process's output, which nobody outside of its worker can guess."""
    return Path(tempfile.gettempdir()) / f"trainshed-{process_id}.output"


def adopt(process_id: str) -> IO[bytes] | None:
    """Open the output of a pool process and unlink it, so that no file is left however both processes end.

    Returns:
        The open file, or None if the process has not made it yet.
    """
    try:
        file = path(process_id).open("rb", buffering=0)
    except FileNotFoundError:
        return None
    path(process_id).unlink(missing_ok=True)
    return file


def tail(file: IO[bytes]) -> str:
    """Return the last lines, together at most 3,500 bytes, of a file that `adopt` opened."""
    left_out = max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES)
    lines = os.pread(file.fileno(), _TAIL_BYTES, left_out).split(b"\n")
    if left_out:
        del lines[0]  # only the end of a line
    return "\n".join(text for line in lines if (text := _as_shown(line)))


def _as_shown(line: bytes) -> str:
    """Return a line as a terminal shows it: a progress bar in its last state."""
    return line.decode(errors="backslashreplace").rstrip().rpartition("\r")[-1]
