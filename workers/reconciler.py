"""Puts right what kills, lost messages and outages left: a loop in the parent process of every worker.

There is no leader: each action is a compare-and-set, so any number of reconcilers do no harm to each other.
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
from shared.store import dispatch, recovery

_log = log.get_logger(__name__)


class Reconciler:
    """Reaps expired leases, ends cancelled jobs, and sends what was never sent or was lost."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        settings: Settings,
        *,
        now: Now = database_now,
    ) -> None:
        self._database = database
        self._broker = broker
        self._settings = settings
        self._now = now
        self._seen_at: datetime | None = None
        self._watching_since: datetime | None = None

    def round(self) -> None:
        """Put right what can be put right now; an outage leaves the rest to a later round."""
        try:
            self.recover_jobs()
            self.dispatch_jobs()
        except DBAPIError as error:
            _log.warning("the database cannot be reached", error=str(error.orig))
        except BrokerUnavailable as error:
            _log.warning("Redis cannot be reached", error=str(error))

    def recover_jobs(self) -> None:
        """Reap and end what no worker will end."""
        cancelled, reaped = self._database.write(self._recover)
        if cancelled or reaped:
            _log.info("jobs recovered", reaped=reaped, cancelled=cancelled)

    def _recover(self, session: Session) -> tuple[list[UUID], list[UUID]]:
        cancelled, reaped = recovery.end_cancelled(session, now=self._now), []
        if self._has_watched_for_a_lease(session):
            reaped = recovery.reap(session, max_crashes=self._settings.max_crashes, now=self._now)
        return cancelled, reaped

    def _has_watched_for_a_lease(self, session: Session) -> bool:
        """Whether holders of leases could renew them all the while.

        After an outage of the database, a sleep of this machine or a leap of the clock every lease seems to
        have expired, and its holder is about to renew it. The database's clock shows them all as a gap.
        """
        moment = session.execute(select(self._now())).scalar_one()
        lease = timedelta(seconds=self._settings.lease_s)
        between_rounds = timedelta(seconds=self._settings.reconcile_s) + lease / 2
        watched = self._seen_at is not None and timedelta() <= moment - self._seen_at <= between_rounds
        if self._watching_since is None or not watched:
            self._watching_since = moment
        self._seen_at = moment
        return moment - self._watching_since >= lease

    def dispatch_jobs(self) -> None:
        """Send due jobs that were not sent; those that were sent, too, if the broker holds fewer messages."""
        queues = self._settings.queues
        expected = self._database.read(partial(dispatch.count_dispatched, queues=queues))
        lost = self._broker.waiting(queues) < expected
        lost_after_s = self._settings.redispatch_s if lost else None
        hints = self._database.write(
            partial(dispatch.take_undispatched, queues=queues, lost_after_s=lost_after_s)
        )
        unavailable = dispatch.send(self._database, self._broker, hints)
        if unavailable is not None:
            raise unavailable
        if hints:
            _log.info("jobs dispatched", count=len(hints), some_were_lost=lost)
