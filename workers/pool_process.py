"""What a pool process keeps from one job to the next: loaded once, warm for every job."""

import importlib
import logging
import os
import signal
import socket
import threading
from dataclasses import dataclass, field

from billiard.process import current_process

from shared import log
from shared.db.engine import Database
from shared.settings import Settings, get_settings
from shared.store.attempts import WorkerInfo
from shared.store.change_feed import ChangePublisher
from workers.executor import Executor
from workers.gpus import take_gpu, visible_gpus
from workers.job_log_handler import JobLogHandler

_log = log.get_logger(__name__)

# sent by the parent when the worker stops; Celery uses the others
STOP_SIGNAL = signal.SIGUSR2
# sent to the parent by a process that cannot run jobs
BROKEN_SIGNAL = signal.SIGUSR2

_LOG_PATIENCE_S = 2.0  # for how long lines of a job's log wait for the database


@dataclass(frozen=True)
class PoolProcess:
    """A pool process.

    Attributes:
        database: for the thread that runs jobs; patient, since losing work is dear.
        heartbeat_database: for the heartbeat's thread; impatient.
        stop: set when the worker is asked to stop.
    """

    settings: Settings
    executor: Executor
    info: WorkerInfo
    database: Database
    heartbeat_database: Database
    stop: threading.Event = field(default_factory=threading.Event)


_current: PoolProcess | None = None


def current() -> PoolProcess:
    """This pool process."""
    if _current is None:
        raise RuntimeError("this process is not a pool process of a worker")
    return _current


def start() -> None:
    """Make this process ready for jobs: its GPU, its libraries, its data, its compiled programs."""
    global _current
    settings = get_settings()
    take_gpu(visible_gpus(), _slot())
    executor = load_executor(settings)
    executor.warm_up()
    url, announcer = settings.effective_database_url, ChangePublisher(settings)
    process = PoolProcess(
        settings=settings,
        executor=executor,
        info=WorkerInfo(name=worker_name(os.getppid()), device=executor.device, versions=executor.versions),
        database=Database(url, patience_s=settings.lease_s * 2 / 3, committed=announcer),
        heartbeat_database=Database(url, patience_s=0, committed=announcer),
    )
    logging.getLogger().addHandler(JobLogHandler(Database(url, patience_s=_LOG_PATIENCE_S), hide=log.hide))
    signal.signal(STOP_SIGNAL, lambda *_: process.stop.set())
    _current = process
    _log.info("ready for jobs", device=executor.device)


def _slot() -> int:
    # billiard's pool numbers its processes, and gives the number of one that died to its successor
    return int(getattr(current_process(), "index", 0))


def load_executor(settings: Settings) -> Executor:
    """Make the executor that the settings name, as `module:class`."""
    module, _, name = settings.executor.partition(":")
    executor: Executor = getattr(importlib.import_module(module), name)(settings)
    return executor


def worker_name(parent_pid: int) -> str:
    """The name of a worker: of its host and its parent process."""
    return f"{socket.gethostname()}:{parent_pid}"
