"""The parent process of a worker: runs the reconciler, updates the worker's row, stops the pool's jobs."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import billiard
from celery.worker import state
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shared import log, tracing
from shared.broker import Broker
from shared.db import floor
from shared.db.engine import Database
from shared.settings import Settings
from shared.store.change_feed import ChangePublisher
from workers import readiness
from workers.attempt_trace import SERVICE
from workers.draining import DrainStep
from workers.health import HealthFile
from workers.memory import resident_bytes
from workers.pod_deletion_cost import PodDeletionCost
from workers.pool_process import STOP_PATIENCE_S, STOP_SIGNAL, worker_name
from workers.pool_watch import PoolWatch
from workers.purge import Purge
from workers.reconciler import Reconciler
from workers.registration import Registration

_log = log.get_logger(__name__)


class ParentProcess:
    """The work of a worker's parent process, besides passing messages to its pool, which Celery does."""

    def __init__(
        self,
        settings: Settings,
        gpus: list[str],
        slots: int,
        processes: Callable[[], Iterable[Any]],
        ready: Callable[[], int],
        end: Callable[[int], None],
    ) -> None:
        """Prepare.

        Args:
            settings: of this worker.
            gpus: that it may use, as CUDA names them.
            slots: how many jobs it runs at the same time.
            processes: returns billiard's processes that are in the pool now.
            ready: returns how many of them can run a job.
            end: stops the worker with an exit code.
        """
        self._settings = settings
        self._publisher = ChangePublisher(settings)
        url = settings.effective_database_url
        self._database = Database(url, committed=self._publisher, program="trainshed-worker")
        self._broker = Broker(settings)
        self._slots = slots
        self._reconciler = Reconciler(self._database, self._broker, settings, free_slots=self._free_slots)
        pid = os.getpid()
        name = worker_name(pid)
        self._registration = Registration(
            self._database,
            settings,
            name=name,
            pid=pid,
            devices=gpus,
            slots=slots,
            memory=lambda: resident_bytes([pid, *(child.pid for child in processes() if child.pid)]),
        )
        self._pool_watch = PoolWatch(self._database, self._broker, settings, worker=name, processes=processes)
        self._purge = Purge(self._database, settings)
        self._ready = ready
        self._end = end
        self._health = HealthFile(settings.health_file)
        self._deletion_cost = PodDeletionCost(settings.pod)
        self._registered = False
        self._is_refused = False
        self._reports = readiness.Reports()
        self._stop_requested = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Start the threads; the reconciler's first round that reaches the database registers the worker."""
        tracing.start(SERVICE)
        self._thread.start()
        self._pool_watch.start()
        self._purge.start()

    def stop_jobs(self) -> None:
        """Have each pool process release its job, end those that cannot; wait for no database any more."""
        self._database.hurry(STOP_PATIENCE_S)
        self._pool_watch.end_what_cannot_stop()
        for child in billiard.active_children():
            # a process that was killed a moment ago must not keep the signal from the others
            with suppress(ProcessLookupError):
                if child.pid is not None:
                    os.kill(child.pid, STOP_SIGNAL)

    def stop(self) -> None:
        """Wake others up for the jobs that the pool has released, mark the worker as stopped, disconnect."""
        self._stop_requested.set()
        self._thread.join()
        self._pool_watch.stop()
        self._purge.stop()
        self._database.hurry(STOP_PATIENCE_S)
        self._run_round()
        self._health.report(can_train=False)
        try:
            self._registration.mark_stopped()
        except DBAPIError as error:
            _log.warning("not marked as stopped: it will be listed as lost", error=str(error.orig))
        self._publisher.close()
        self._broker.close()
        self._database.dispose()
        tracing.stop()

    def _free_slots(self) -> int:
        # a request of Celery is a pool process that runs jobs, or is about to
        return self._slots - len(state.reserved_requests)

    def _run(self) -> None:
        next_round_at = time.monotonic()
        while True:
            # when draining begins or ends, a round at once wakes up those who can run what waits
            if self._update_drain_state() or time.monotonic() >= next_round_at:
                next_round_at = time.monotonic() + self._settings.reconcile_s
                self._run_round()
            if self._stop_requested.wait(min(self._settings.cancel_poll_s, self._settings.reconcile_s)):
                return

    def _update_drain_state(self) -> bool:
        """Read whether this worker drains; return whether that has changed."""
        before = DrainStep.draining
        with suppress(SQLAlchemyError):
            DrainStep.draining = self._registration.is_draining()
        return DrainStep.draining != before

    def _run_round(self) -> None:
        try:
            if refusal := self._database.read(lambda session: floor.refusal(session.connection())):
                self._refuse(refusal)
                return
            if self._registered:
                self._registration.heartbeat()
            else:
                self._registration.register()
                self._registered = True
            self._reconciler.reconcile()
            self._reports.report([])
            self._health.report(can_train=self._ready() >= self._slots)
            self._deletion_cost.report(self._slots - self._free_slots())
        except DBAPIError as error:
            self._report(error)
            self._health.report(can_train=False)
        except Exception:
            # an unexpected error must not end this thread: later losses would stay unrepaired
            _log.exception("reconciler round failed")

    def _refuse(self, refusal: str) -> None:
        """End this worker, which is too old for the database: its jobs go on elsewhere."""
        self._health.report(can_train=False)
        if not self._is_refused:
            self._is_refused = True
            _log.error(f"cannot work: {refusal}")
            self._end(readiness.ExitCode.VERSION)

    def _report(self, error: DBAPIError) -> None:
        """Log why the database refused a round, as long as it does once a minute."""
        obstacle = readiness.database_obstacle(self._database, self._settings)
        if obstacle is None:  # it was busy, or is back already
            _log.warning("reconciler round failed", error=str(error.orig))
        else:
            self._reports.report([obstacle])
