"""Recovery from lost workers, lost messages and outages. Runs in every worker's parent process.

There is no leader: each action is a compare-and-set, so any number of reconcilers may run at once.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import log
from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.outages import concerns_one_transaction, is_unavailable
from shared.settings import Settings
from shared.store import dispatch, preemption, recovery, tenants, workers
from workers import attempt_trace

_log = log.get_logger(__name__)

_MAX_FORGOTTEN = 1_000  # tenants' rows that one round deletes
_MAX_PULLED_BACK = 1_000  # jobs that one round corrects, since SQLite has one writer at a time


class Reconciler:
    """Reaps expired leases, ends jobs and waits, corrects times, wakes free slots up, prunes old rows."""

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
        self._requeued = 0  # jobs requeued in this round

    def reconcile(self) -> None:
        """Run one round: every step, even if others fail.

        An outage of the database ends the round early, and the next round does the rest.

        Raises:
            DBAPIError: the database is unavailable.
        """
        self._requeued = 0
        steps = (
            self._end_cancelled,
            self._reap,
            self._pull_back,
            self._end_waits,
            self._prune_workers,
            self._forget_tenants,
            self._request_preemptions,
            self._wake_workers,
        )
        for step in steps:
            with _isolated("a step of the reconciler failed", step=step.__name__.strip("_")):
                step()

    def _end_cancelled(self) -> None:
        for job_id in self._database.read(recovery.released_to_end):
            with _isolated("job not cancelled", job_id=str(job_id)):
                end = partial(recovery.end_cancelled, only=job_id, now=self._now)
                if self._database.write(end):
                    _log.info("job recovered", cancelled=job_id)

    def _reap(self) -> None:
        most, lease_s = self._settings.max_lost_attempts, self._settings.lease_s
        reap = partial(recovery.reap, max_lost_attempts=most, lease_s=lease_s)
        for job_id in self._database.read(self._expired):
            with _isolated("job not recovered", job_id=str(job_id)):
                for lost in self._database.write(partial(reap, only=job_id, now=self._now)):
                    self._requeued += 1
                    attempt_trace.record_lost(lost)
                    _log.info("job recovered", reaped=job_id)

    def _expired(self, session: Session) -> Sequence[UUID]:
        return recovery.expired(session, now=self._now) if self._has_observed_for_a_lease(session) else []

    def _pull_back(self) -> None:
        if not self._clock_may_have_stepped_back:
            return
        lease_s = self._settings.lease_s
        pull_back = partial(recovery.pull_back, lease_s=lease_s, limit=_MAX_PULLED_BACK, now=self._now)
        pulled_back = self._database.write(pull_back)
        if pulled_back:
            _log.info("jobs recovered", pulled_back=pulled_back)
        self._clock_may_have_stepped_back = pulled_back > 0  # there may be more

    def _has_observed_for_a_lease(self, session: Session) -> bool:
        """Return whether rounds have followed each other closely for the length of a lease.

        After an outage of the database, a suspension of this machine or a step of the clock every lease seems
        expired although its holder is about to renew it. Each of these shows as a gap in the database's time
        between two rounds; after a gap, no lease is reaped until its holder has had a full lease to renew it.
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

    def _end_waits(self) -> None:
        told = recovery.end_waits(self._database, for_s=self._settings.reconcile_s / 2, now=self._now)
        if told:
            _log.info("jobs told that one that they wait for has ended", jobs=told)

    def _prune_workers(self) -> None:
        retention_s = self._settings.worker_retention_s
        pruned = self._database.write(partial(workers.prune, retention_s=retention_s, now=self._now))
        if pruned:
            _log.info("workers pruned", workers=pruned)

    def _forget_tenants(self) -> None:
        self._database.write(partial(tenants.forget_idle, limit=_MAX_FORGOTTEN))

    def _request_preemptions(self) -> None:
        """Request them again: a victim may have been lost, or another job may have taken the freed slot."""
        request = partial(preemption.request, min_run_s=self._settings.min_run_s, now=self._now)
        victims = self._database.write(partial(request, queue_names=self._settings.queues))
        if victims:
            _log.info("preemptions requested", attempts=[str(victim) for victim in victims])

    def _wake_workers(self) -> None:
        """Wake workers up for jobs that wait although this worker has free slots, and for requeued ones."""
        limit = self._free_slots() + self._requeued
        if limit > 0:
            due = partial(dispatch.due, queues=self._settings.queues, limit=limit, now=self._now)
            jobs = self._database.read(due)
            if jobs and dispatch.wake(self._broker, jobs):
                _log.info("workers woken up", jobs=jobs)


@contextmanager
def _isolated(failed: str, **fields: object) -> Iterator[None]:
    """Log an error of the block with these fields, unless it is an outage of the database."""
    try:
        yield
    except Exception as error:
        if is_unavailable(error) and not concerns_one_transaction(error):
            raise
        _log.exception(failed, **fields)
