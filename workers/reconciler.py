"""Puts right what kills, lost messages and outages left: a loop in the parent process of every worker.

There is no leader: each action is a compare-and-set, so any number of reconcilers do no harm to each other.
"""

import time
from collections.abc import Callable
from functools import partial

from sqlalchemy.exc import DBAPIError

from shared import log, recovery
from shared.broker import Broker, BrokerUnavailable
from shared.db import Database
from shared.dispatch import dispatch
from shared.settings import Settings

_log = log.get_logger(__name__)


class Reconciler:
    """Reaps expired leases, ends cancelled jobs, and sends what was never sent or was lost."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        settings: Settings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._broker = broker
        self._settings = settings
        self._monotonic = monotonic
        self._reachable_since: float | None = None

    def round(self) -> None:
        """Put right what can be put right now; an outage leaves the rest to a later round."""
        try:
            self.recover_jobs()
            self.dispatch_jobs()
        except DBAPIError as error:
            self._reachable_since = None
            _log.warning("the database cannot be reached", error=str(error.orig))
        except BrokerUnavailable as error:
            _log.warning("Redis cannot be reached", error=str(error))

    def recover_jobs(self) -> None:
        """Reap and end what no worker will end."""
        cancelled = self._database.write(recovery.end_cancelled)
        reaped = []
        # after an outage of the database every lease has expired, and its holders are about to renew
        if self._reachable_since is None:
            self._reachable_since = self._monotonic()
        if self._monotonic() - self._reachable_since >= self._settings.lease_s:
            reaped = self._database.write(partial(recovery.reap, max_crashes=self._settings.max_crashes))
        if cancelled or reaped:
            _log.info("jobs recovered", reaped=reaped, cancelled=cancelled)

    def dispatch_jobs(self) -> None:
        """Send due jobs that were not sent; those that were sent, too, if the broker holds fewer messages."""
        queues = self._settings.queues
        expected = self._database.read(partial(recovery.count_dispatched, queues=queues))
        lost = self._broker.waiting(queues) < expected
        lost_after_s = self._settings.redispatch_s if lost else None
        hints = self._database.write(
            partial(recovery.take_undispatched, queues=queues, lost_after_s=lost_after_s)
        )
        unavailable = dispatch(self._database, self._broker, hints)
        if unavailable is not None:
            raise unavailable
        if hints:
            _log.info("jobs dispatched", count=len(hints), some_were_lost=lost)
