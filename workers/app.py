"""The Celery application of a worker, and what its parent and pool processes do as they come and go.

Start it with `python -m workers` (or `trainshed worker`).
"""

import os
import threading
from typing import Any

import billiard
from celery import signals

from shared import log
from shared.broker import Broker, celery_app
from shared.db import Database
from shared.settings import get_settings
from workers import process
from workers.device import slot_count, visible_gpus
from workers.inventory import Registration
from workers.reconciler import Reconciler

_log = log.get_logger(__name__)

settings = get_settings()
gpus = visible_gpus()
slots = slot_count(gpus, slots=settings.slots, slots_per_gpu=settings.slots_per_gpu)

app = celery_app(settings)
app.conf.update(include=["workers.app", "workers.tasks"], worker_concurrency=slots)


class Parent:
    """What the parent process of a worker does beside handing messages to its pool."""

    def __init__(self) -> None:
        self._database = Database(settings.effective_database_url)
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
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reconciler", daemon=True)

    def start(self) -> None:
        """Join the inventory and start reconciling."""
        self._registration.register()
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.wait(settings.reconcile_s):
            self._round()

    def _round(self) -> None:
        try:
            self._registration.beat()
            self._reconciler.round()
        except Exception:
            # a thread that dies of a surprise would leave every later loss unrepaired
            _log.exception("a round of the reconciler failed")

    def stop_jobs(self) -> None:
        """Ask every pool process to give its job back."""
        for child in billiard.active_children():
            if child.pid is not None:
                os.kill(child.pid, process.STOP_SIGNAL)

    def leave(self) -> None:
        """Hand over what the pool gave back, and leave the inventory."""
        self._stop.set()
        self._thread.join()
        self._round()
        self._registration.leave()
        self._broker.close()
        self._database.dispose()


_parent: Parent | None = None


@signals.setup_logging.connect  # type: ignore[untyped-decorator, unused-ignore]
def _configure_logging(**_: Any) -> None:
    log.configure(settings.log_level)


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


@signals.worker_process_init.connect  # type: ignore[untyped-decorator, unused-ignore]
def _start_pool_process(**_: Any) -> None:
    process.start()
