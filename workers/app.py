"""The Celery application of a worker, and what its parent and pool processes do as they come and go.

Start it with `python -m workers` (or `trainshed worker`).
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import billiard
from celery import signals
from celery.worker import state
from sqlalchemy.exc import SQLAlchemyError

from shared import log
from shared.broker import Broker, celery_app
from shared.changes import Announcer
from shared.db import Database
from shared.settings import get_settings
from workers import process
from workers.device import slot_count, visible_gpus
from workers.gate import GateStep, gate
from workers.inventory import Registration
from workers.reconciler import Reconciler

_log = log.get_logger(__name__)

settings = get_settings()
gpus = visible_gpus()
slots = slot_count(gpus, slots=settings.slots, slots_per_gpu=settings.slots_per_gpu)

app = celery_app(settings)
app.conf.update(include=["workers.app", "workers.tasks"], worker_concurrency=slots)
app.steps["consumer"].add(GateStep)


class Parent:
    """What the parent process of a worker does beside handing messages to its pool."""

    def __init__(self) -> None:
        self._announcer = Announcer(settings)
        self._database = Database(settings.effective_database_url, committed=self._announcer)
        self._broker = Broker(settings)
        self._reconciler = Reconciler(self._database, self._broker, settings)
        self._registration = Registration(
            self._database,
            settings,
            name=process.worker_name(os.getpid()),
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
                due = time.monotonic() + settings.reconcile_s
                self._round()
            if self._stop.wait(min(settings.cancel_poll_s, settings.reconcile_s)):
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
                    os.kill(child.pid, process.STOP_SIGNAL)

    def leave(self) -> None:
        """Hand over what the pool gave back, and leave the inventory."""
        self._stop.set()
        self._thread.join()
        self._round()
        self._registration.leave()
        self._announcer.close()
        self._broker.close()
        self._database.dispose()


_parent: Parent | None = None


@signals.setup_logging.connect  # type: ignore[untyped-decorator, unused-ignore]
def _configure_logging(**_: Any) -> None:
    log.configure(settings.log_level, secrets=settings.secrets)


@signals.worker_ready.connect  # type: ignore[untyped-decorator, unused-ignore]
def _start_parent(**_: Any) -> None:
    global _parent
    _parent = Parent()
    _parent.start()


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator, unused-ignore]
def _stop_jobs(**_: Any) -> None:
    if _parent is not None:
        _parent.stop_jobs()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator, unused-ignore]
def _leave(**_: Any) -> None:
    if _parent is not None:
        _parent.leave()


@signals.worker_init.connect  # type: ignore[untyped-decorator, unused-ignore]
def _listen_to_pool(**_: Any) -> None:
    signal.signal(process.BROKEN_SIGNAL, _end_broken)


def _end_broken(*_: object) -> None:
    _stop_jobs()
    # how a Celery worker is asked to end with a status
    vars(state).update(should_stop=os.EX_SOFTWARE)


@signals.worker_process_init.connect  # type: ignore[untyped-decorator, unused-ignore]
def _start_pool_process(**_: Any) -> None:
    try:
        process.start()
    except Exception:
        # Celery goes on with the process, which would take every message at once and run no job
        _log.exception("this process cannot run jobs: its worker ends")
        os.kill(os.getppid(), process.BROKEN_SIGNAL)
