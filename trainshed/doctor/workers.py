"""Checks of the workers: queues that none serves, and workers of this host without their processes."""

import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from shared.db.engine import Database
from shared.lifecycle import WorkerState
from shared.schemas import Queue, Worker
from shared.settings import Settings
from shared.store import queues, workers
from trainshed.doctor.findings import Finding, error, ok, warning

_SUBJECT = "workers"
_MAX_LISTED = 200
_PROC = Path("/proc")


def check(settings: Settings) -> Iterator[Finding]:
    """Check the workers that the database knows, and the processes of those on this host."""
    try:
        with Database(settings.effective_database_url, patience_s=0) as database:
            listed = [worker for _, worker in database.read(partial(workers.page, limit=_MAX_LISTED))]
            read = database.read(partial(queues.page, named=settings.queues))
        waiting = [queue for _, queue in read if any(queue.queued.values())]
    except (SQLAlchemyError, ImportError, ValueError):
        yield warning(_SUBJECT, "they are not known while the database cannot be read", "see above")
        return
    online = [worker for worker in listed if worker.state is WorkerState.ONLINE]
    findings = [*_lost(listed), *_not_started(waiting), *_processes(online)]
    if online:
        slots = sum(worker.slots for worker in online)
        yield ok(_SUBJECT, f"{len(online)} online with {slots} slots")
    elif not waiting:
        yield warning(_SUBJECT, "none is online, so no job runs", "start one with `trainshed worker`")
    yield from findings


def _lost(listed: list[Worker]) -> Iterator[Finding]:
    for worker in listed:
        if worker.state is WorkerState.LOST:
            message = f"{worker.id} was last seen {worker.heartbeat_age_s:,.0f} s ago, and has not stopped"
            yield warning(
                _SUBJECT, message, f"look at {worker.host}: it is down, or cut off from the database"
            )


def _not_started(waiting: list[Queue]) -> Iterator[Finding]:
    for queue in waiting:
        jobs = f"{sum(queue.queued.values()):,} jobs wait in the queue {queue.name}"
        if queue.paused:
            yield warning(_SUBJECT, f"{jobs}, which is paused", f"run `trainshed queues resume {queue.name}`")
        elif not queue.workers:
            advice = f"start a worker with TRAINSHED_QUEUES={queue.name}"
            yield error(_SUBJECT, f"{jobs}, which no online worker serves", advice)


def _processes(online: list[Worker]) -> Iterator[Finding]:
    """Check that this host's workers run, with a process for each slot; without /proc, check nothing."""
    for worker in online:
        if worker.host != socket.gethostname() or not _PROC.is_dir():
            continue
        if not (_PROC / str(worker.pid)).is_dir():
            message = f"{worker.id} has no process {worker.pid} any more"
            yield warning(_SUBJECT, message, "it was killed: start it again; its jobs return to their queue")
            continue
        running = sum(_is_pool_process(pid) for pid in _children(worker.pid))
        if running < worker.slots:
            message = f"{worker.id} has {running} pool processes for {worker.slots} slots"
            yield warning(_SUBJECT, message, "it may be starting them; its log says why one has ended")


def _children(pid: int) -> list[int]:
    try:
        listed = (_PROC / str(pid) / "task" / str(pid) / "children").read_text()
    except OSError:  # the process has just ended
        return []
    return [int(child) for child in listed.split()]


def _is_pool_process(pid: int) -> bool:
    try:
        return b"spawn_main" in (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False
