"""The connections of one API process: its settings, the database and the broker."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from shared.broker import Broker
from shared.db.engine import Database
from shared.settings import Settings
from shared.store.change_feed import ChangePublisher
from shared.store.dispatch import WakeUps
from shared.store.group_commit import GroupCommit
from shared.store.places import Rules


@dataclass(frozen=True)
class Services:
    """The settings, the database and the broker. Thread-safe.

    Attributes:
        submissions: the group commit, which stores many jobs at a time.
        changes: the publisher that announces the jobs that `database` has changed.
    """

    settings: Settings
    database: Database
    broker: Broker
    submissions: GroupCommit
    changes: ChangePublisher


@contextmanager
def open_services(settings: Settings) -> Iterator[Services]:
    """Open the services until the end of the block. Neither the database nor the broker needs to be up."""
    with closing(ChangePublisher(settings)) as publisher, closing(Broker(settings)) as broker:
        url = settings.effective_database_url
        database = Database(url, committed=publisher, program="trainshed-api")
        try:
            with (
                closing(WakeUps(broker)) as wake_ups,
                closing(GroupCommit(database, wake_ups.add, Rules.of(settings))) as submissions,
            ):
                yield Services(settings, database, broker, submissions, publisher)
        finally:
            database.dispose()
