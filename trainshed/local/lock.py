"""One stack a data folder: a lock that says who has it, and that the kernel releases when they die."""

import fcntl
import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import IO

from trainshed.errors import StackError, StackRunning
from trainshed.local.guardian import is_running

_INTERVAL_S = 0.1


class StackLock(AbstractContextManager["StackLock"]):
    """The right to run a stack on a data folder, held until the end of the block.

    The lock belongs to the open file and not to the process (flock(2)), so a child that inherits `fileno`
    holds it too.
    """

    def __init__(self, data_dir: Path, url: str, *, patience_s: float = 60.0) -> None:
        """Prepare to lock.

        Args:
            data_dir: the folder; made if it is not there.
            url: of this stack's API, for who comes second.
            patience_s: how long to wait for a stack whose process was killed, and whose programs still end.
        """
        self._data_dir = data_dir
        self._url = url
        self._patience_s = patience_s
        self._file: IO[str] | None = None

    def __enter__(self) -> "StackLock":
        """Lock.

        Raises:
            StackRunning: a stack runs on this folder.
            StackError: what is left of an earlier one does not end, or the folder cannot be written to.
        """
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            self._file = (self._data_dir / "stack.lock").open("a+")
        except OSError as error:
            raise StackError(
                f"{self._data_dir} cannot be written to ({error.strerror}): set TRAINSHED_DATA_DIR to another"
            ) from error
        try:
            self._lock(self._file)
        except BaseException:
            self._file.close()
            raise
        self._file.truncate(0)
        json.dump({"url": self._url, "pid": os.getpid()}, self._file)
        self._file.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        self._file.close()

    def fileno(self) -> int:
        """The file descriptor that holds the lock."""
        assert self._file is not None
        return self._file.fileno()

    def _lock(self, file: IO[str]) -> None:
        deadline = monotonic() + self._patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                self._check_holder(file)
            if monotonic() > deadline:
                raise StackError(
                    f"an earlier stack on {self._data_dir} was killed, and what it had started does not end"
                )
            sleep(_INTERVAL_S)

    def _check_holder(self, file: IO[str]) -> None:
        file.seek(0)
        try:
            holder = json.load(file)
        except ValueError:  # it has the lock, and has not written yet
            return
        if is_running(holder["pid"]):
            raise StackRunning(self._data_dir, holder["url"], holder["pid"])
