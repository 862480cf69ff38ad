"""The parent process of a worker: runs the reconciler, updates the worker's row, stops the pool's jobs."""

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import billiard
from celery.worker import state
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

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
            settings: the settings of this worker.
            gpus: the GPUs that the worker may use, as CUDA names them.
            slots: how many jobs the worker runs at the same time.
            processes: returns billiard's processes that are in the pool now.
            ready: returns how many of these processes can run a job.
            end: stops the worker with an exit code.
        """
        self._settings = settings
        self._publisher = ChangePublisher(settings)
        # the pool watch has its own connection, so that nothing else delays a renewal of leases
        database = partial(_database, settings, self._publisher)
        self._database, self._watch_database = database(patience_s=10.0), database(patience_s=0.0)
        self._broker = Broker(settings)
        self._slots = slots
        self._reconciler = Reconciler(self._database, self._broker, settings, free_slots=self._free_slots)
        name = worker_name(os.getpid())
        self._registration = self._own_registration(name, gpus, processes)
        self._pool_watch = PoolWatch(
            self._watch_database,
            self._broker,
            settings,
            worker=name,
            processes=processes,
            draining=self._note_draining,
        )
        self._purge = Purge(self._database, settings)
        self._ready = ready
        self._end = end
        self._health = HealthFile(settings.health_file)
        self._deletion_cost = PodDeletionCost(settings.pod)
        self._registered = False
        self._is_refused = False
        self._reports = readiness.Reports()
        self._stop_requested = threading.Event()
        self._next_round = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def _own_registration(
        self, name: str, gpus: list[str], processes: Callable[[], Iterable[Any]]
    ) -> Registration:
        pid = os.getpid()
        return Registration(
            self._database,
            self._settings,
            name=name,
            pid=pid,
            devices=gpus,
            slots=self._slots,
            memory=lambda: resident_bytes([pid, *(child.pid for child in processes() if child.pid)]),
        )

    def start(self) -> None:
        """Start the threads; the reconciler's first round that reaches the database registers the worker."""
        tracing.start(SERVICE)
        self._thread.start()
        self._pool_watch.start()
        self._purge.start()

    def stop_jobs(self) -> None:
        """Have each pool process release its job, and end the processes that cannot.

        From now on nothing waits for the database for longer than `STOP_PATIENCE_S`.
        """
        self._database.hurry(STOP_PATIENCE_S)
        self._pool_watch.end_what_cannot_stop()
        for child in billiard.active_children():
            # a process that was killed a moment ago must not keep the signal from the others
            with suppress(ProcessLookupError):
                if child.pid is not None:
                    os.kill(child.pid, STOP_SIGNAL)

    def stop(self) -> None:
        """Wake other workers up for the released jobs, mark this worker as stopped, and disconnect."""
        self._stop_requested.set()
        self._next_round.set()
        self._thread.join()
        self._pool_watch.stop()
        self._purge.stop()
        self._database.hurry(STOP_PATIENCE_S)
        self._run_round()
        self._health.report(can_train=False)
        try:
            self._registration.mark_stopped()
        except (DBAPIError, PoolTimeout) as error:
            reason = str(getattr(error, "orig", error))
            _log.warning("not marked as stopped: it will be listed as lost", error=reason)
        self._publisher.close()
        self._broker.close()
        self._database.dispose()
        self._watch_database.dispose()
        tracing.stop()

    def _free_slots(self) -> int:
        # each of Celery's requests is a pool process that runs jobs, or is about to run some
        return self._slots - len(state.reserved_requests)

    def _run(self) -> None:
        while not self._stop_requested.is_set():
            self._run_round()
            self._next_round.wait(self._settings.reconcile_s)
            self._next_round.clear()

    def _note_draining(self, drains: bool) -> None:
        """Store whether the worker drains; after a change, a round at once wakes workers for waiting jobs."""
        if DrainStep.draining != drains:
            DrainStep.draining = drains
            self._next_round.set()

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
        except (DBAPIError, PoolTimeout) as error:
            self._report(error)
            self._health.report(can_train=False)
        except Exception:
            # an unexpected error must not end this thread: later losses would stay unrepaired
            _log.exception("reconciler round failed")

    def _refuse(self, refusal: str) -> None:
        """End this worker, which is too old for the database: its jobs continue on other workers."""
        self._health.report(can_train=False)
        if not self._is_refused:
            self._is_refused = True
            _log.error(f"cannot work: {refusal}")
            self._end(readiness.ExitCode.VERSION)

    def _report(self, error: DBAPIError | PoolTimeout) -> None:
        """Log why a round could not use the database; a lasting obstacle is logged once a minute."""
        obstacle = readiness.database_obstacle(self._database, self._settings)
        if obstacle is None:  # the database was busy, or is available again
            _log.warning("reconciler round failed", error=str(getattr(error, "orig", error)))
        else:
            self._reports.report([obstacle])


def _database(settings: Settings, publisher: ChangePublisher, patience_s: float) -> Database:
    """Return a database with one connection."""
    return Database(
        settings.effective_database_url,
        patience_s=patience_s,
        committed=publisher,
        program="trainshed-worker",
        connections=1,
    )
