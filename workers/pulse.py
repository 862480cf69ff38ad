"""The pulse of a pool process: shows the parent that Python runs in the process, and carries their messages.

A step may hold Python's interpreter lock for ever (a deadlock in C code), and a process may be stopped
(SIGSTOP). No thread of the process can notice that then, so the parent does. The pulse is the modification
time of a file. No clocks are compared: the parent only sees that the time changes. Into the file the process
writes the attempts that it holds, and the parent its lease renewals and orders (`workers/marks.py`).
"""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self
from uuid import UUID

from shared import errors
from shared.store.transitions import AttemptId
from workers import marks
from workers.marks import Mark, Orders, OrdersReader

_INTERVAL_S = 1.0
_MAX_LOOK_S = 1.0  # most that one look adds to a silence: the parent may have been suspended with its pool
_MAX_SILENCE_S = 5.0  # longest silence of a process in which something runs
_STEP_S = 0.1  # least time between two steps that are marked for the parent
# how long a process that was suspended with its parent waits for the parent's first renewal
_RENEWALS_AWAITED, _RENEWAL_S = 20, 0.05


def end_group() -> None:
    """End this process at once, and its process group if it leads one."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


class Pulse:
    """The file that a pool process touches every second from its start, and in which it marks its attempts.

    The thread that touches the file has no other work: any other thread of the process may have to wait for
    the database, the disk or the reader of the log for longer than a silence may last. It also ends the
    process when the parent has died, as the kernel does on Linux: nobody would renew a lease or end a hung
    step.

    Attributes:
        stop: set when the worker is being stopped.
    """

    def __init__(
        self,
        file: Path,
        *,
        lease_s: float,
        clock: Callable[[], float] = time.monotonic,
        parent: Callable[[], int] = os.getppid,
        end: Callable[[], None] = end_group,
    ) -> None:
        """Create the file, which only this user may read; tests replace `clock`, `parent` and `end`."""
        self.stop = threading.Event()
        self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        marks.allocate(self._file)
        self._orders = OrdersReader(self._file)
        self._mark = Mark()
        self._patience_s = lease_s * 2 / 3
        self._clock = clock
        self._held_at = clock()
        self._closing = threading.Event()
        self._parent, self._parent_pid, self._end = parent, parent(), end
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Start the thread that touches the file."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, and close the file."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._file)

    @contextmanager
    def holding(self, attempts: Sequence[AttemptId]) -> Iterator[None]:
        """Have the leases of these attempts renewed while the block lasts; no attempt begins by this.

        Args:
            attempts: the attempts that this process has just claimed, at most `marks.MAX_ATTEMPTS`.
        """
        self._held_at = self._clock()
        self._write(Mark(attempts=tuple(attempts)))
        try:
            yield
        finally:
            self._write(Mark())

    def begin(self, index: int, max_runtime_s: float | None = None) -> None:
        """Mark that an attempt begins, which may run for `max_runtime_s` seconds, or without a limit if None.

        Args:
            index: the attempt's index among those of `holding`.
        """
        now = self._clock()
        deadline = None if max_runtime_s is None else now + max_runtime_s
        self._write(Mark(self._mark.attempts, index, max_runtime_s, deadline, stepped_at=now))

    def reporting(self) -> None:
        """Mark that no more steps follow: a report that lasts as long as a database outage is not a hang."""
        self._write(replace(self._mark, is_reporting=True))

    def check(self) -> None:
        """Record that a step is finished, and raise if the running attempt must end.

        Raises:
            AttemptInterrupted: a user cancelled the job, the worker is being stopped, or the lease is lost.
            MaxRuntimeExceeded: the attempt has run for longer than the job allows.
        """
        now, mark, orders = self._clock(), self._mark, self._orders.read()
        if now - mark.stepped_at >= _STEP_S:
            self._write(replace(mark, stepped_at=now))
        if mark.attempt in orders.stale:
            raise errors.StaleAttempt(f"{mark.attempt} has ended: the job no longer runs under it")
        if mark.attempt in orders.cancelled:
            raise errors.CancelRequested("a user cancelled the job")
        if self.stop.is_set():
            raise errors.StopRequested("the worker is being stopped")
        # well before the lease expires, so that two attempts never run at once for long
        if self.is_alone():
            self._await_renewal()
        if mark.deadline is not None and now > mark.deadline:
            raise mark.exceeded()

    @property
    def preempted_by(self) -> UUID | None:
        """The urgent job that preempts the running attempt; None if there is none."""
        return dict(self._orders.read().preempted).get(self._mark.attempt) if self._mark.attempt else None

    def is_alone(self) -> bool:
        """Return whether the parent has renewed nothing for two thirds of a lease."""
        return self._alone_s() > self._patience_s

    def _alone_s(self) -> float:
        return self._clock() - max(self._orders.read().renewed_at, self._held_at)

    def _await_renewal(self) -> None:
        # both processes were suspended, or the machine was too busy: the job may still be this attempt's
        for _ in range(_RENEWALS_AWAITED):
            self._closing.wait(_RENEWAL_S)
            if not self.is_alone():
                return
        raise errors.LeaseLost(f"the lease could not be renewed for {self._alone_s():.0f} s")

    def _write(self, mark: Mark) -> None:
        self._mark = mark
        marks.write_mark(self._file, mark)

    def _run(self) -> None:
        while not self._closing.wait(_INTERVAL_S):
            with suppress(OSError):
                os.utime(self._file)
            if self._parent() != self._parent_pid:
                self._end()


class PulseReader:
    """The parent's side of a pool process's pulse: reads the pulse and the mark, and writes orders.

    Attributes:
        orders: the orders that were written last.
        silence_s: the seconds for which the process had been silent at the last look.
    """

    def __init__(self, file: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Read from a file descriptor, which `close` closes."""
        self.orders = Orders()
        self.silence_s = 0.0
        self._file = file
        self._clock = clock
        self._looked_at = clock()
        self._beat = os.fstat(file).st_mtime_ns

    @classmethod
    def adopt(cls, process_id: str, clock: Callable[[], float] = time.monotonic) -> Self | None:
        """Open the pulse of a pool process and unlink its file; return None if it does not exist yet.

        A process without a pulse is not ready for jobs.
        """
        try:
            file = os.open(path(process_id), os.O_RDWR)
        except FileNotFoundError:
            return None
        path(process_id).unlink(missing_ok=True)
        return cls(file, clock)

    def look(self) -> float:
        """Return for how many seconds the process has been silent; call this often.

        A look adds at most a second, so that a suspension of this host is not counted as a silence.
        """
        now, beat = self._clock(), os.fstat(self._file).st_mtime_ns
        if beat == self._beat:
            self.silence_s += min(now - self._looked_at, _MAX_LOOK_S)
        else:
            self._beat, self.silence_s = beat, 0.0
        self._looked_at = now
        return self.silence_s

    @property
    def is_silent(self) -> bool:
        """Whether nothing seems to run in the process."""
        return self.silence_s > _MAX_SILENCE_S

    def mark(self) -> Mark | None:
        """Return the process's mark; None if it is being written."""
        return marks.read_mark(self._file)

    def tell(self, orders: Orders) -> None:
        """Write orders for the process, if they are new."""
        if orders != self.orders:
            self.look()
            self.orders = orders
            marks.write_orders(self._file, orders)
            self._beat = os.fstat(self._file).st_mtime_ns  # this change was not the process's

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def path(process_id: str) -> Path:
    """Return the path of a pool process's pulse, which nobody outside of its worker can guess."""
    return Path(tempfile.gettempdir()) / f"trainshed-{process_id}.pulse"
