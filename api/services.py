"""What the API works with: its settings, the database and the broker, opened once for a process."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from shared.broker import Broker
from shared.db import Database
from shared.settings import Settings


@dataclass(frozen=True)
class Services:
    """Everything that a request may need; each part serves many threads at once."""

    settings: Settings
    database: Database
    broker: Broker


@contextmanager
def open_services(settings: Settings) -> Iterator[Services]:
    """The services, closed at the end. Neither the database nor the broker needs to answer yet."""
    database = Database(settings.effective_database_url)
    try:
        with closing(Broker(settings)) as broker:
            yield Services(settings, database, broker)
    finally:
        database.dispose()
