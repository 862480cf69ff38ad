"""The Celery application of a worker, and what its parent and pool processes do as they come and go.

Start it with `python -m workers` (or `trainshed worker`).
"""

import os
import signal
from typing import Any

from celery import signals
from celery.worker import state

from shared import log
from shared.broker import celery_app
from shared.settings import get_settings
from workers import pool_process
from workers.draining import GateStep
from workers.gpus import slot_count, visible_gpus
from workers.parent import Parent

_log = log.get_logger(__name__)

settings = get_settings()
gpus = visible_gpus()
slots = slot_count(gpus, slots=settings.slots, slots_per_gpu=settings.slots_per_gpu)

app = celery_app(settings)
app.conf.update(include=["workers.app", "workers.tasks"], worker_concurrency=slots)
app.steps["consumer"].add(GateStep)


_parent: Parent | None = None


@signals.setup_logging.connect  # type: ignore[untyped-decorator, unused-ignore]
def _configure_logging(**_: Any) -> None:
    log.configure(settings.log_level, secrets=settings.secrets)


@signals.worker_ready.connect  # type: ignore[untyped-decorator, unused-ignore]
def _start_parent(**_: Any) -> None:
    global _parent
    _parent = Parent(settings, gpus, slots)
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
    signal.signal(pool_process.BROKEN_SIGNAL, _end_broken)


def _end_broken(*_: object) -> None:
    _stop_jobs()
    # how a Celery worker is asked to end with a status
    vars(state).update(should_stop=os.EX_SOFTWARE)


@signals.worker_process_init.connect  # type: ignore[untyped-decorator, unused-ignore]
def _start_pool_process(**_: Any) -> None:
    try:
        pool_process.start()
    except Exception:
        # Celery goes on with the process, which would take every message at once and run no job
        _log.exception("this process cannot run jobs: its worker ends")
        os.kill(os.getppid(), pool_process.BROKEN_SIGNAL)
