"""The scribe: a thread of a pool process that writes progress, used time and log lines of the running job.

It shares the one connection of the process with the job's thread. While the job's thread uses the connection,
the scribe waits or tries again later.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from shared import log
from shared.db.engine import Database
from shared.errors import StaleAttempt
from shared.store.known_turns import KnownTurns
from workers.job_log_handler import JobLogHandler
from workers.pending import PendingProgress

_log = log.get_logger(__name__)

_INTERVAL_S = 0.5  # progress and log lines within this time are written together
_JOB_LOG_PATIENCE_S = 2.0  # how long writes of job log lines are retried while the database is unavailable


def _nothing(_database: Database) -> None:
    """Do nothing: no attempt waits for the running one."""


class Scribe:
    """Writes a job's progress during long steps, the slot time that it has used, and its log.

    Sleeps while no attempt runs and nothing is logged.
    """

    def __init__(
        self,
        database: Database,
        turns: KnownTurns,
        job_log: JobLogHandler,
        *,
        settle_s: float,
        interval_s: float = _INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; tests replace `interval_s` and `clock`.

        Args:
            database: the database of the process, whose connection the scribe shares.
            settle_s: seconds between two writes of the slot time that the job has used.
        """
        self._database = database.with_patience(0)
        self._patient = database.with_patience(_JOB_LOG_PATIENCE_S)
        self._turns = turns
        self._job_log = job_log
        self._job_log.logged = self._wake_up
        self._settle_s = settle_s
        self._interval_s = interval_s
        self._clock = clock
        self._settled_at = clock()
        self._pending: PendingProgress | None = None
        self._unload: Callable[[Database], object] = _nothing
        self._is_failing = False
        self._has_work = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scribe", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread, and write the remaining log lines."""
        self._closing.set()
        self._has_work.set()
        if self._thread.is_alive():
            self._thread.join()
        self._job_log.write(self._patient)

    @contextmanager
    def writing(
        self, pending: PendingProgress, unload: Callable[[Database], object] = _nothing
    ) -> Iterator[None]:
        """Write this progress and the used slot time while the block lasts.

        Args:
            unload: called before each write; must not fail.
        """
        self._pending, self._unload, self._settled_at = pending, unload, self._clock()
        self._has_work.set()
        try:
            yield
        finally:
            self._pending, self._unload = None, _nothing

    def write(self) -> None:
        """Write everything that is pending; a failed write is tried again later, except one of log lines."""
        self._job_log.write(self._patient)
        try:
            if (pending := self._pending) is not None:
                self._unload(self._database)  # first: the database may refuse the progress
                self._write_of_attempt(pending)
            self._is_failing = False
        except StaleAttempt:
            pass  # the thread that runs the job learns of it from the parent, or when it reports
        except SQLAlchemyError as error:
            if not self._is_failing:
                _log.warning("progress is not written", error=str(getattr(error, "orig", error)))
            self._is_failing = True

    def _write_of_attempt(self, pending: PendingProgress) -> None:
        pending.write_if_due(self._database)
        if self._clock() - self._settled_at >= self._settle_s:
            self._settled_at = self._clock()
            self._turns.grow()
            with self._turns.settling() as settlement:
                if settlement.taken:
                    self._database.write(settlement.write)

    def _wake_up(self) -> None:
        self._has_work.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._has_work.wait()
            self._closing.wait(self._interval_s)
            self._has_work.clear()
            if self._pending is not None:
                self._has_work.set()
            try:
                self.write()
            except Exception:  # the next job needs this thread
                _log.exception("the scribe failed")
