"""The pulse of a pool process: shows its parent that Python runs in it, and what they tell each other.

A step may hold Python's lock for ever (a deadlock in C code), and a process may be stopped (SIGSTOP): then no
thread of it can notice that, so its parent does. The pulse is the time of a file's last change, which depends
on no clock: the parent only sees that it changes. In the file the process says which attempts it holds, and
its parent whose leases it has renewed and what is asked of them (`workers/marks.py`).
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
_MAX_LOOK_S = 1.0  # that one look adds to a silence: the parent may have been suspended with its pool
_MAX_SILENCE_S = 5.0  # of a process in which something runs
_STEP_S = 0.1  # between two steps that the parent is told of
# how long a process that was suspended with its parent waits for this one's first renewal
_RENEWALS_AWAITED, _RENEWAL_S = 20, 0.05


def end_group() -> None:
    """End this process at once, and its process group if it leads one."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


class Pulse:
    """The file that a pool process touches each second, from its start on, and marks its attempts in.

    The thread has nothing else to do: any other of the process may have to wait, for the database, for the
    disk or for whoever reads the log, for longer than a silence may last. It also ends the process when its
    parent has died, as the kernel does on Linux: nobody would renew a lease, nor end what hangs.

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
        """Beat from now on."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, and close the file."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._file)

    @contextmanager
    def holding(self, attempts: Sequence[AttemptId]) -> Iterator[None]:
        """Have the leases of these attempts renewed for as long as the block lasts; none of them begins.

        Args:
            attempts: at most `marks.MAX_ATTEMPTS`, which this process has just claimed.
        """
        self._held_at = self._clock()
        self._write(Mark(attempts=tuple(attempts)))
        try:
            yield
        finally:
            self._write(Mark())

    def begin(self, index: int, max_runtime_s: float | None = None) -> None:
        """Note that one of the attempts begins, which may run for so many seconds; None: without an end."""
        now = self._clock()
        deadline = None if max_runtime_s is None else now + max_runtime_s
        self._write(Mark(self._mark.attempts, index, max_runtime_s, deadline, stepped_at=now))

    def reporting(self) -> None:
        """Expect no more steps: a report that lasts as long as an outage of the database is not a hang."""
        self._write(replace(self._mark, is_reporting=True))

    def check(self) -> None:
        """Record that a step is finished, and raise if the attempt that runs must end.

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
        """The urgent job that preempts the attempt that runs; None: none does."""
        return dict(self._orders.read().preempted).get(self._mark.attempt) if self._mark.attempt else None

    def is_alone(self) -> bool:
        """Return whether the parent has renewed nothing for two thirds of a lease."""
        return self._alone_s() > self._patience_s

    def _alone_s(self) -> float:
        return self._clock() - max(self._orders.read().renewed_at, self._held_at)

    def _await_renewal(self) -> None:
        # both were suspended, or the machine was too busy: the job may still be this attempt's
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
    """What a parent sees of the pulse of a pool process, and tells this one.

    Attributes:
        orders: what the process was told last.
        silence_s: for how many seconds it has been silent at the last look.
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
        """Open the file of a pool process and remove its name; return None while there is none.

        A process that has no pulse yet is not ready for jobs.
        """
        try:
            file = os.open(path(process_id), os.O_RDWR)
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
        """Return what the process says of its attempts; None if it is writing that."""
        return marks.read_mark(self._file)

    def tell(self, orders: Orders) -> None:
        """Tell the process something new."""
        if orders != self.orders:
            self.look()
            self.orders = orders
            marks.write_orders(self._file, orders)
            self._beat = os.fstat(self._file).st_mtime_ns  # this was not a beat of the process

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def path(process_id: str) -> Path:
    """Return the file of a pool process with this id, which nobody outside of its worker can guess."""
    return Path(tempfile.gettempdir()) / f"trainshed-{process_id}.pulse"
