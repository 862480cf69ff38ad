"""State that a pool process keeps between jobs: its executor, its database connection and its stop flag."""

import gc
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from hashlib import sha256

from billiard.process import current_process

from shared import log
from shared.db.engine import Database
from shared.settings import Settings, get_settings
from shared.store.change_feed import ChangePublisher
from shared.store.known_turns import KnownTurns
from shared.store.places import Rules
from shared.store.workers import WorkerInfo
from shared.texts import storable
from workers import build, process_output, pulse
from workers.executor import CPU_DEVICE, Executor
from workers.gpus import select_gpu, visible_gpus
from workers.job_log_handler import JobLogHandler
from workers.pace import Pace
from workers.process_output import ProcessOutput
from workers.pulse import Pulse
from workers.registration import boot_id
from workers.scribe import Scribe

_log = log.get_logger(__name__)

# sent by the parent to each pool process when the worker stops; Celery uses the other signals itself
STOP_SIGNAL = signal.SIGUSR2
# sent to the parent by a pool process that could not start
START_FAILED_SIGNAL = signal.SIGUSR2

STOP_PATIENCE_S = 4.0
"""Seconds for which a stopping worker waits for its database: if it waited longer, it would be killed."""

_MAX_DEVICE_CHARS = 200
_MAX_HOST_CHARS = 128  # so that a lease owner, which begins with the host name, fits into its column


class NoGpu(RuntimeError):
    """A GPU is required, and there is none."""


@dataclass(frozen=True)
class PoolProcess:
    """State of a pool process.

    Attributes:
        id: the process's id, from `process_id`.
        database: for the thread that runs jobs; retries for long, since a failed write loses a job's work.
        output: the output of the process.
        pulse: shows the parent that the process runs, and which attempts it holds.
        turns: whose turn it is in the queues, as this process knows it.
        scribe: writes progress, used time and log lines for the thread that runs jobs.
        registered: set once the environment to which the attempts refer is stored.
        pace: decides how many jobs the process claims at once.
    """

    settings: Settings
    executor: Executor
    info: WorkerInfo
    id: str
    database: Database
    output: ProcessOutput
    pulse: Pulse
    turns: KnownTurns
    scribe: Scribe
    registered: threading.Event = field(default_factory=threading.Event)
    pace: Pace = field(default_factory=Pace)

    @property
    def stop(self) -> threading.Event:
        """The event that is set when the worker is being stopped."""
        return self.pulse.stop

    @property
    def takes_jobs(self) -> bool:
        """Whether the process may claim jobs: the worker is not stopping, and its parent renews leases."""
        return not (self.stop.is_set() or self.pulse.is_alone())


_current: PoolProcess | None = None


def current() -> PoolProcess:
    """Return the state of this pool process."""
    if _current is None:
        raise RuntimeError("this process is not a pool process of a worker")
    return _current


def lead_group() -> None:
    """Make this process the leader of a group of its own, so that its children end with it, however it ends.

    The group stays in the worker's session, where the local stack finds it (`trainshed/local/guardian.py`).
    """
    if sys.platform == "linux":
        os.setpgid(0, 0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a terminal may stop a group in its background


def start() -> None:
    """Make this process ready for jobs: select its GPU, warm up its executor, open its databases."""
    gc.disable()  # imports and tracing leave no garbage, and looking for it takes half a second
    settings = get_settings()
    # billiard numbers the processes of its pool; the replacement of a dead process gets the same number
    gpus, own_id = visible_gpus(), process_id(current_process().name)
    select_gpu(gpus, int(getattr(current_process(), "index", 0)))
    # before TensorFlow, which prints when it is imported
    output = ProcessOutput(process_output.path(own_id), has_gpu=bool(gpus))
    log.configure(settings.log_level, secrets=settings.secrets, stream=output.redirect())
    output.follow()
    started = time.monotonic()
    executor = load_executor(settings)
    loaded = time.monotonic()
    executor.warm_up()
    warm = time.monotonic()
    process = _prepared(settings, own_id, executor, output)
    _serve(process)
    gc.freeze()  # these objects do not become garbage later either, while jobs run
    gc.enable()
    _log.info(
        "ready for jobs",
        device=process.info.device,
        import_s=round(loaded - started, 2),
        warm_up_s=round(warm - loaded, 2),
    )


def _prepared(settings: Settings, own_id: str, executor: Executor, output: ProcessOutput) -> PoolProcess:
    """Create the state of this process, and collect the log lines of its attempts from now on."""
    info = _info(executor, settings)
    # the thread that runs jobs and the scribe share one connection
    database = Database(
        settings.effective_database_url,
        patience_s=settings.lease_s * 2 / 3,
        committed=ChangePublisher(settings),
        program="trainshed-job",
        connections=1,
    )
    job_log, turns = JobLogHandler(hide=log.hide), KnownTurns(Rules.of(settings))
    logging.getLogger().addHandler(job_log)
    return PoolProcess(
        settings=settings,
        executor=executor,
        info=info,
        id=own_id,
        database=database,
        output=output,
        pulse=Pulse(pulse.path(own_id), lease_s=settings.lease_s),
        turns=turns,
        scribe=Scribe(database, turns, job_log, settle_s=settings.heartbeat_s),
    )


def _serve(process: PoolProcess) -> None:
    global _current
    process.pulse.start()
    process.scribe.start()
    signal.signal(STOP_SIGNAL, lambda *_: _stop(process))
    _current = process


def _info(executor: Executor, settings: Settings) -> WorkerInfo:
    device = storable(executor.device, _MAX_DEVICE_CHARS)
    check_device(settings, device)
    versions = {**executor.versions, **build.versions()}
    return WorkerInfo(worker_name(os.getppid()), device, versions, boot_id())


def _stop(process: PoolProcess) -> None:
    process.stop.set()
    process.database.hurry(STOP_PATIENCE_S)


def check_device(settings: Settings, device: str) -> None:
    """Refuse to run jobs on the CPU if a GPU is required.

    Raises:
        NoGpu: a GPU is required, and TensorFlow uses the CPU.
    """
    if settings.require_gpu and device == CPU_DEVICE:
        raise NoGpu("TensorFlow can use no GPU: correct the driver or the image, or TRAINSHED_REQUIRE_GPU")


def load_executor(settings: Settings) -> Executor:
    """Create the executor that the settings name as `module:class`."""
    module, _, name = settings.executor.partition(":")
    executor: Executor = getattr(importlib.import_module(module), name)(settings)
    return executor


def process_id(name: str) -> str:
    """Return an id that is unique among all workers' pool processes; the process and its parent compute it.

    Args:
        name: billiard's name of the process, which is unique within a worker.
    """
    # neither process ids nor host names are unique: containers have the same ones
    family = sha256(bytes(current_process().authkey)).hexdigest()[:12]
    return f"{family}-{name}"


def worker_name(parent_pid: int) -> str:
    """Return the name of a worker: `<host name>:<id of its parent process>`."""
    return f"{storable(socket.gethostname(), _MAX_HOST_CHARS)}:{parent_pid}"
