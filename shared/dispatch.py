"""Sends hints for jobs that are marked as dispatched, and takes the mark back where that fails."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from shared import recovery
from shared.broker import BrokerUnavailable, Hint
from shared.db import Database


class Sender(Protocol):
    """What hands hints to the workers: the broker, or a fake."""

    def send(self, hint: Hint) -> None:
        """Hand a job's id to the workers; raises BrokerUnavailable."""


def dispatch(database: Database, sender: Sender, hints: Sequence[Hint]) -> BrokerUnavailable | None:
    """Send every hint, in order.

    If this process dies before it is done, the reconciler finds the rest unclaimed and sends them again.

    Returns:
        why the rest could not be sent; None if all were. Those not sent are marked so.
    """
    for done, hint in enumerate(hints):
        try:
            sender.send(hint)
        except BrokerUnavailable as error:
            unsent = [hint.job_id for hint in hints[done:]]
            database.write(partial(recovery.mark_undispatched, job_ids=unsent))
            return error
    return None
