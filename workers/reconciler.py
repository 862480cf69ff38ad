"""Recovery from lost workers, lost messages and outages. Runs in every worker's parent process.

There is no leader: each action is a compare-and-set, so any number of reconcilers may run at once.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import log
from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.settings import Settings
from shared.store import dispatch, recovery, shares, workers, yielding
from workers import attempt_trace

_log = log.get_logger(__name__)

_MAX_FORGOTTEN = 1_000  # clocks of shares, in one round
_MAX_PULLED_BACK = 1_000  # in one round, since SQLite has one writer at a time


class Reconciler:
    """Reaps expired leases, ends cancelled jobs, corrects times, wakes free slots up, prunes what is over."""

    def __init__(
        self,
        database: Database,
        broker: dispatch.Waker,
        settings: Settings,
        *,
        free_slots: Callable[[], int],
        now: Now = database_now,
    ) -> None:
        self._database = database
        self._broker = broker
        self._settings = settings
        self._free_slots = free_slots
        self._now = now
        self._last_round_at: datetime | None = None
        self._observing_since: datetime | None = None
        self._clock_may_have_stepped_back = True  # while no worker ran

    def reconcile(self) -> None:
        """Run one round; an outage of the database ends it early, and the next round does the rest.

        Raises:
            DBAPIError: the database is unavailable.
        """
        requeued = self._recover_jobs()
        self._prune_workers()
        self._database.write(partial(shares.forget_past, limit=_MAX_FORGOTTEN))
        self._request_yields()
        self._wake_workers(requeued)

    def _recover_jobs(self) -> int:
        cancelled, reaped, pulled_back = self._database.write(self._recover)
        for lost in reaped:
            attempt_trace.record_lost(lost)
        if cancelled or reaped or pulled_back:
            ids = [lost.attempt.job_id for lost in reaped]
            _log.info("jobs recovered", reaped=ids, cancelled=cancelled, pulled_back=pulled_back)
        self._clock_may_have_stepped_back = pulled_back > 0  # there may be more
        return len(reaped)

    def _recover(self, session: Session) -> tuple[list[UUID], list[recovery.LostAttempt], int]:
        cancelled, reaped, pulled_back = recovery.end_cancelled(session, now=self._now), [], 0
        if self._has_observed_for_a_lease(session):
            reaped = recovery.reap(session, max_crashes=self._settings.max_crashes, now=self._now)
        if self._clock_may_have_stepped_back:
            lease_s = self._settings.lease_s
            pulled_back = recovery.pull_back(session, lease_s=lease_s, limit=_MAX_PULLED_BACK, now=self._now)
        return cancelled, reaped, pulled_back

    def _has_observed_for_a_lease(self, session: Session) -> bool:
        """Return whether rounds have followed each other closely for the length of a lease.

        After an outage of the database, a suspension of this machine or a step of the clock every lease seems
        expired although its holder is about to renew it. Each of them is a gap in the database's time between
        two rounds, and no lease is reaped before its holder has had a full lease to renew it.
        """
        moment = session.execute(select(self._now())).scalar_one()
        lease = timedelta(seconds=self._settings.lease_s)
        max_gap = timedelta(seconds=self._settings.reconcile_s) + lease / 2
        last_round_at, self._last_round_at = self._last_round_at, moment
        is_gap = last_round_at is None or not timedelta() <= moment - last_round_at <= max_gap
        if last_round_at is not None and moment < last_round_at:
            self._clock_may_have_stepped_back = True
        if self._observing_since is None or is_gap:
            self._observing_since = moment
        return moment - self._observing_since >= lease

    def _prune_workers(self) -> None:
        retention_s = self._settings.worker_retention_s
        pruned = self._database.write(partial(workers.prune, retention_s=retention_s, now=self._now))
        if pruned:
            _log.info("workers pruned", workers=pruned)

    def _request_yields(self) -> None:
        """Do so again: a victim may have been lost, or another job have taken the slot that was free."""
        request = partial(yielding.request, min_run_s=self._settings.min_run_s, now=self._now)
        victims = self._database.write(partial(request, queue_names=self._settings.queues))
        if victims:
            _log.info("jobs asked to yield", attempts=[str(victim) for victim in victims])

    def _wake_workers(self, requeued: int) -> None:
        """Wake workers up for jobs that wait although this worker has free slots, and for requeued ones."""
        limit = self._free_slots() + requeued
        if limit > 0:
            due = partial(dispatch.due, queues=self._settings.queues, limit=limit, now=self._now)
            jobs = self._database.read(due)
            if jobs and dispatch.wake(self._broker, jobs):
                _log.info("workers woken up", jobs=jobs)
