"""Progress of an attempt that is not written yet. Two threads write it: the job's thread and the scribe."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from shared import log
from shared.db.engine import Database
from shared.errors import StaleAttempt
from shared.formats.epochs import EpochMetrics
from shared.lifecycle import Phase
from shared.store import attempts
from shared.store.progress import Milestone, Progress
from shared.store.transitions import AttemptId

_log = log.get_logger(__name__)

_INTERVAL_S = 0.25  # progress within this time is one transaction: a fast GPU finishes an epoch in 3 ms
# after a write of steps that takes longer than this, as while many jobs write, or that is larger, the
# interval until the next write of steps alone is longer in proportion, up to 20 intervals, which are 5 s
_WRITE_S, _WRITE_BYTES, _MAX_INTERVALS = 0.025, 2**16, 20


@dataclass
class _Reached:
    """A phase or epoch with the time when it was reached, and for an epoch the state after it, once read.

    Attributes:
        weights: the weights after the epoch, if the job keeps them.
    """

    milestone: Phase | EpochMetrics
    at: float
    read_state: Callable[[], bytes] | None = None
    weights: bytes | None = None
    state: bytes | None = None


class PendingProgress:
    """The phases, epochs and steps of an attempt since its last write, in order.

    A write whose commit was not confirmed is repeated unchanged before anything else is written, so that the
    store recognizes it.
    """

    def __init__(self, attempt: AttemptId, *, lease_s: float, interval_s: float = _INTERVAL_S) -> None:
        """Start without progress; each write extends the lease to `lease_s` seconds."""
        self._attempt = attempt
        self._lease_s = lease_s
        self._interval_s = interval_s
        self._reached: list[_Reached] = []  # appended to without the lock, shortened with it
        self._dataset_sha256: str | None = None
        self._unconfirmed = 0  # how many of the first items are in an unconfirmed write
        self._last_epoch: _Reached | None = None
        self._so_far: Callable[[], EpochMetrics] | None = None  # used by the thread that trains only
        self._writing = threading.Lock()
        self._written_at = self._steps_due_at = time.monotonic()

    def add_dataset(self, sha256: str) -> None:
        """Add the checksum of the attempt's dataset, which is written with the next phase or epoch."""
        self._dataset_sha256 = sha256

    def add_phase(self, phase: Phase) -> None:
        """Add a phase, and read the state after the last epoch now, since the phase may last long.

        The epoch cannot be written without that state.
        """
        self._read_state()
        self._reached.append(_Reached(phase, time.monotonic()))

    def add_epoch(
        self, metrics: EpochMetrics, read_state: Callable[[], bytes], weights: bytes | None = None
    ) -> None:
        """Add an epoch.

        Args:
            read_state: returns the state after the epoch; called only if that state is stored.
            weights: the weights after the epoch, if the job keeps them.
        """
        self._so_far = None
        if self._last_epoch is not None:
            self._last_epoch.read_state = None  # only the state after the last epoch is stored
        self._last_epoch = _Reached(metrics, time.monotonic(), read_state, weights)
        self._reached.append(self._last_epoch)

    def add_steps(self, so_far: Callable[[], EpochMetrics]) -> None:
        """Add steps of an epoch; `so_far` returns all its steps so far, and is called only to store them."""
        self._so_far = so_far

    def write_if_due(self, database: Database, *, read_state: bool = False) -> bool:
        """Write the pending progress if the last write was long enough ago; return whether it was written.

        Nothing is written while another thread writes. Epochs are not written until the state after the last
        one has been read.

        Args:
            read_state: whether to read that state and the steps first. Only the thread that trains may do
                so, because the reading waits for the device.
        """
        now = time.monotonic()
        so_far = self._so_far if read_state and now >= self._steps_due_at else None
        if not (self._reached or so_far) or now - self._written_at < self._interval_s:
            return False
        if read_state:
            self._read_state()
        if not self._writing.acquire(blocking=False):
            return False
        try:
            return self._write(database, so_far)
        finally:
            self._writing.release()

    @contextmanager
    def closing(self, database: Database) -> Iterator[Callable[[], Progress]]:
        """Yield a function that returns the pending progress, which the block reports in a transaction."""
        with self._writing:
            if self._unconfirmed:
                with suppress(StaleAttempt):  # the report meets the same
                    self._write(database)
            self._read_state_or_drop()
            yield partial(_progress, self._reached, self._dataset_sha256)
            self._reached.clear()

    def drop(self) -> None:
        """Discard the pending progress, which cannot be stored."""
        with self._writing:
            self._reached.clear()
            self._unconfirmed = 0

    def _write(self, database: Database, so_far: Callable[[], EpochMetrics] | None = None) -> bool:
        batch = self._reached[: self._unconfirmed or None]
        if not _is_complete(batch):
            batch = list(takewhile(_is_phase, batch))  # so that a long step's phase is seen
        if so_far and (self._unconfirmed or len(batch) < len(self._reached)):
            so_far = None  # steps are written after everything before them
        if not (batch or so_far):
            return False
        self._unconfirmed = len(batch)
        record = partial(attempts.record, attempt=self._attempt, lease_s=self._lease_s)
        sha256 = self._dataset_sha256
        running = so_far() if so_far else None
        progress = partial(_progress, batch, sha256, running)
        began_at = time.monotonic()
        database.write(lambda session: record(session, progress=progress()))
        if self._dataset_sha256 is sha256:
            self._dataset_sha256 = None
        del self._reached[: len(batch)]
        self._unconfirmed = 0
        self._written_at = time.monotonic()
        if running:
            self._so_far = None
            size = max((self._written_at - began_at) / _WRITE_S, len(running.steps) / _WRITE_BYTES, 1.0)
            self._steps_due_at = self._written_at + min(size, _MAX_INTERVALS) * self._interval_s
        return True

    def _read_state(self) -> None:
        last = self._last_epoch
        if last is not None and last.read_state is not None:
            last.state, last.read_state = last.read_state(), None

    def _read_state_or_drop(self) -> None:
        try:
            self._read_state()
        except Exception as error:
            # for example, the GPU has failed; these epochs will be trained again
            _log.warning("progress lost with the state after it", error=str(error))
            self._reached.clear()


def _is_phase(reached: _Reached) -> bool:
    return isinstance(reached.milestone, Phase)


def _is_complete(batch: Sequence[_Reached]) -> bool:
    epochs = [each for each in batch if isinstance(each.milestone, EpochMetrics)]
    return not epochs or epochs[-1].state is not None


def _progress(
    batch: Sequence[_Reached], dataset_sha256: str | None, running: EpochMetrics | None = None
) -> Progress:
    """Return the reached phases and epochs, each with its age at this moment."""
    now = time.monotonic()
    states = [each.state for each in batch if isinstance(each.milestone, EpochMetrics)]
    milestones = tuple(Milestone(each.milestone, now - each.at, each.weights) for each in batch)
    return Progress(milestones, states[-1] if states else None, dataset_sha256, running)
