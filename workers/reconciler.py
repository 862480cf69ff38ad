"""Recovery from killed workers, lost messages and outages. Runs in every worker's parent process.

There is no leader: each action is a compare-and-set, so any number of reconcilers may run at once.
"""

from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from shared import log
from shared.broker import Broker, BrokerUnavailable
from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.settings import Settings
from shared.store import dispatch, recovery, workers

_log = log.get_logger(__name__)


class Reconciler:
    """Reaps expired leases, ends cancelled jobs, dispatches jobs without a message, prunes workers."""

    def __init__(
        self, database: Database, broker: Broker, settings: Settings, *, now: Now = database_now
    ) -> None:
        self._database = database
        self._broker = broker
        self._settings = settings
        self._now = now
        self._last_round_at: datetime | None = None
        self._observing_since: datetime | None = None

    def reconcile(self) -> None:
        """Run one round; an outage ends it early, and the next round does the rest."""
        try:
            self._recover_jobs()
            self._prune_workers()
            self._dispatch_jobs()
        except DBAPIError as error:
            _log.warning("database unavailable", error=str(error.orig))
        except BrokerUnavailable as error:
            _log.warning("Redis unavailable", error=str(error))

    def _recover_jobs(self) -> None:
        cancelled, reaped = self._database.write(self._recover)
        if cancelled or reaped:
            _log.info("jobs recovered", reaped=reaped, cancelled=cancelled)

    def _recover(self, session: Session) -> tuple[list[UUID], list[UUID]]:
        cancelled, reaped = recovery.end_cancelled(session, now=self._now), []
        if self._has_observed_for_a_lease(session):
            reaped = recovery.reap(session, max_crashes=self._settings.max_crashes, now=self._now)
        return cancelled, reaped

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
        if self._observing_since is None or is_gap:
            self._observing_since = moment
        return moment - self._observing_since >= lease

    def _prune_workers(self) -> None:
        retention_s = self._settings.worker_retention_s
        pruned = self._database.write(partial(workers.prune, retention_s=retention_s, now=self._now))
        if pruned:
            _log.info("workers pruned", workers=pruned)

    def _dispatch_jobs(self) -> None:
        """Dispatch due jobs that were not sent, and if the broker lost messages, those sent long ago."""
        queues = self._settings.queues
        expected = self._database.read(partial(dispatch.count_dispatched, queues=queues))
        lost = self._broker.count_hints(queues) < expected
        lost_after_s = self._settings.redispatch_s if lost else None
        take = partial(dispatch.take_undispatched, queues=queues, lost_after_s=lost_after_s)
        hints = self._database.write(take)
        if dispatch.send(self._database, self._broker, hints) and hints:
            _log.info("jobs dispatched", count=len(hints), messages_lost=lost)
