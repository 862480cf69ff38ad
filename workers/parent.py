"""The parent process of a worker: it reconciles, keeps the worker's row, and passes a stop on to the pool."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import billiard
from sqlalchemy.exc import SQLAlchemyError

from shared import log
from shared.broker import Broker
from shared.db.engine import Database
from shared.settings import Settings
from shared.store.change_feed import ChangePublisher
from workers import pool_process
from workers.draining import gate
from workers.reconciler import Reconciler
from workers.registration import Registration

_log = log.get_logger(__name__)


class Parent:
    """What the parent process of a worker does beside handing messages to its pool."""

    def __init__(self, settings: Settings, gpus: list[str], slots: int) -> None:
        self._settings = settings
        self._announcer = ChangePublisher(settings)
        self._database = Database(settings.effective_database_url, committed=self._announcer)
        self._broker = Broker(settings)
        self._reconciler = Reconciler(self._database, self._broker, settings)
        self._registration = Registration(
            self._database,
            settings,
            name=pool_process.worker_name(os.getpid()),
            pid=os.getpid(),
            devices=gpus,
            slots=slots,
        )
        self._announce: Callable[[], None] = self._registration.register
        self._draining = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reconciler", daemon=True)

    def start(self) -> None:
        """Start to reconcile; the first round joins the inventory, as soon as the database is there."""
        self._thread.start()

    def _work(self) -> None:
        due = time.monotonic()
        while True:
            if self._drain_has_changed() or time.monotonic() >= due:
                due = time.monotonic() + self._settings.reconcile_s
                self._round()
            if self._stop.wait(min(self._settings.cancel_poll_s, self._settings.reconcile_s)):
                return

    def _drain_has_changed(self) -> bool:
        """Look whether this worker is to take jobs; the next round sends what it has refused."""
        before = self._draining
        with suppress(SQLAlchemyError):
            self._draining = self._registration.is_draining()
        gate.closed = self._draining
        return self._draining != before

    def _round(self) -> None:
        try:
            self._announce()
            self._announce = self._registration.beat
            self._reconciler.round()
        except Exception:
            # a thread that dies of a surprise would leave every later loss unrepaired
            _log.exception("a round of the reconciler failed")

    def stop_jobs(self) -> None:
        """Ask every pool process to give its job back."""
        for child in billiard.active_children():
            # one that was killed a moment ago must not keep the others from hearing of the stop
            with suppress(ProcessLookupError):
                if child.pid is not None:
                    os.kill(child.pid, pool_process.STOP_SIGNAL)

    def leave(self) -> None:
        """Hand over what the pool gave back, and leave the inventory."""
        self._stop.set()
        self._thread.join()
        self._round()
        self._registration.leave()
        self._announcer.close()
        self._broker.close()
        self._database.dispose()
