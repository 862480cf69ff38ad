"""Deletes data past its retention, in small transactions, in a thread of the worker's parent process."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from shared import log
from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.settings import Settings
from shared.store import retention

_log = log.get_logger(__name__)

_INTERVAL_S = 60.0
# jobs that were kept for their model are looked at again after this time: the model may be unneeded now
_FROM_BEGINNING_S = 3_600.0
TRANSACTION_S = {"sqlite": 0.02, "postgresql": 0.5}
"""The intended duration of a transaction: SQLite has one writer at a time; on PostgreSQL nobody waits."""
# rows in a transaction; fewer than 20 would hardly shorten it, since its commit takes a time of its own
_MIN_BATCH, _MAX_BATCH = 20, 1_000
_REST = 3.0  # the pause between two transactions, as a multiple of the duration of the last one
_STOP_TIMEOUT_S = 1.0

Next = Callable[..., list[Any]]
Delete = Callable[[Session, Sequence[Any]], int]


@dataclass
class _Kind:
    """A kind of data that is deleted.

    Attributes:
        delete: deletes the items of a batch, as `next` returns them, and returns their number.
        retention_s: seconds for which an item is kept after the end of its job; 0 means for ever.
        next: returns the next batch of items that may be past their retention, such as `retention.finished`.
        after: the last item that was looked at.
    """

    name: str
    delete: Delete
    retention_s: float
    next: Next = retention.finished
    after: Any = None


class Purge:
    """Thread that deletes data past its retention.

    Between two transactions it waits for three times as long as the last one took, so that others get at
    least three quarters of the database's time.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        now: Now = database_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        keys_s = settings.idempotency_retention_s
        delete_keys = partial(retention.delete_keys, retention_s=keys_s, now=now)
        kinds = [
            _Kind("logs", _of_jobs(retention.delete_logs), settings.log_retention_s),
            _Kind("models", _of_jobs(retention.delete_models), settings.model_retention_s),
            _Kind("idempotency_keys", delete_keys, keys_s, retention.old_keys),
            _Kind("jobs", _of_jobs(retention.delete_jobs), settings.job_retention_s),
        ]
        self._kinds = [kind for kind in kinds if kind.retention_s > 0]
        self._database = database
        self._now = now
        self._clock = clock
        self._batch = _MIN_BATCH
        self._transaction_s = TRANSACTION_S[database.engine.dialect.name]
        self._began_at = clock()
        self._stop_requested = threading.Event()
        self._thread = threading.Thread(target=self._run, name="purge", daemon=True)

    def start(self) -> None:
        """Start the thread, if anything has a retention."""
        if self._kinds:
            self._thread.start()

    def stop(self) -> None:
        """End the thread after its transaction."""
        self._stop_requested.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_TIMEOUT_S)

    def purge(self) -> dict[str, int]:
        """Delete the data that is past its retention now; return the number of deleted items by kind.

        Raises:
            DBAPIError: the database is unavailable.
        """
        if self._clock() - self._began_at >= _FROM_BEGINNING_S:
            self._began_at = self._clock()
            for kind in self._kinds:
                kind.after = None
        return {kind.name: self._purge_kind(kind) for kind in self._kinds}

    def _run(self) -> None:
        while not self._stop_requested.wait(_INTERVAL_S):
            try:
                deleted = self.purge()
                if any(deleted.values()):
                    _log.info("purged", **deleted)
            except (DBAPIError, PoolTimeout) as error:
                _log.warning("purge interrupted", error=str(getattr(error, "orig", error)))
            except Exception:
                # an unexpected error must not end this thread: the database would grow
                _log.exception("purge failed")

    def _purge_kind(self, kind: _Kind) -> int:
        total = 0
        while not self._stop_requested.is_set():
            started_at, limit = self._clock(), self._batch
            batch, deleted = self._database.write(partial(_delete, kind=kind, limit=limit, now=self._now))
            total += deleted
            if batch:
                kind.after = batch[-1]
            if len(batch) < limit:
                break
            took_s = max(0.001, self._clock() - started_at)
            fitting = round(limit * self._transaction_s / took_s)
            self._batch = max(_MIN_BATCH, min(_MAX_BATCH, fitting, 2 * limit))
            self._stop_requested.wait(_REST * took_s)
        return total


def _of_jobs(delete: Callable[[Session, Sequence[UUID]], int]) -> Delete:
    """Turn a function of job ids into one of a batch of `retention.finished`."""
    return lambda session, ended: delete(session, [job_id for _, job_id in ended])


def _delete(session: Session, kind: _Kind, limit: int, now: Now) -> tuple[list[Any], int]:
    """Delete the items of the next batch that are past their retention; return the batch and their number."""
    batch = kind.next(session, retention_s=kind.retention_s, after=kind.after, limit=limit, now=now)
    return batch, kind.delete(session, batch) if batch else 0
