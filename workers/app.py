"""Celery application of a worker: its configuration, and the handlers of Celery's signals.

Start it with `python -m workers` (or `trainshed worker`).
"""

import os
import signal
from typing import Any

from billiard.util import get_logger
from celery import signals
from celery.concurrency.asynpool import AsynPool
from celery.worker import state

from shared import log, tracing
from shared.broker import celery_app
from shared.settings import get_settings
from workers import notices, pool_process, transport
from workers.attempt_trace import SERVICE
from workers.draining import DrainStep
from workers.gpus import slot_count, visible_gpus
from workers.parent import ParentProcess

_log = log.get_logger(__name__)

_NICENESS = 10  # niceness of pool processes, added to the worker's own

settings = get_settings()
gpus = visible_gpus()
slots = slot_count(gpus, slots=settings.slots, slots_per_gpu=settings.slots_per_gpu)

transport.install()
notices.install()
# Celery checks its pool when a process closes its files, a moment before the process ends, and otherwise only
# every 5 s: a killed process could be replaced up to 5 s late
AsynPool.timers = property(lambda pool: {pool.maintain_pool: 0.5})  # type: ignore[method-assign, assignment, unused-ignore]
app = celery_app(settings)
app.conf.update(include=["workers.app", "workers.tasks"], worker_concurrency=slots)
app.steps["consumer"].add(DrainStep)

_parent: ParentProcess | None = None


@signals.setup_logging.connect  # type: ignore[untyped-decorator, unused-ignore]
def _configure_logging(**_: Any) -> None:
    log.configure(settings.log_level, secrets=settings.secrets)
    get_logger().propagate = True  # otherwise billiard's lines would be printed as plain text


@signals.worker_init.connect  # type: ignore[untyped-decorator, unused-ignore]
def _handle_failed_starts(**_: Any) -> None:
    signal.signal(pool_process.START_FAILED_SIGNAL, lambda *_: _end(os.EX_SOFTWARE))


@signals.worker_ready.connect  # type: ignore[untyped-decorator, unused-ignore]
def _start_parent(sender: Any, **_: Any) -> None:
    global _parent
    pool = sender.pool  # its attribute `_pool` becomes None when it stops
    _parent = ParentProcess(
        settings,
        gpus,
        slots,
        processes=lambda: list(getattr(pool._pool, "_pool", ())),
        # Celery lists here the processes that have reported their start, and writes only to these
        ready=lambda: len(getattr(pool._pool, "_fileno_to_inq", ())),
        end=_end,
    )
    _parent.start()


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator, unused-ignore]
def _stop_jobs(**_: Any) -> None:
    if _parent is not None:
        _parent.stop_jobs()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator, unused-ignore]
def _stop_parent(**_: Any) -> None:
    if _parent is not None:
        _parent.stop()


@signals.worker_process_init.connect  # type: ignore[untyped-decorator, unused-ignore]
def _start_pool_process(**_: Any) -> None:
    # processes that answer others come first: the parent, and an API and a database on the same host
    os.nice(_NICENESS)
    pool_process.lead_group()
    try:
        pool_process.start()
        tracing.start(SERVICE)
    except Exception:
        # Celery would keep the process in the pool, where it would consume every message and run no job
        _log.exception("pool process failed to start, stopping the worker")
        os.kill(os.getppid(), pool_process.START_FAILED_SIGNAL)


@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator, unused-ignore]
def _stop_pool_process(**_: Any) -> None:
    tracing.stop()


def _end(code: int) -> None:
    """Stop this worker with an exit code; its jobs return to the queue."""
    _stop_jobs()
    # this is how a Celery worker is stopped with an exit status
    vars(state).update(should_stop=code)
