"""What the API works with: its settings, the database and the broker, opened once for a process."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from api.predictor import Predictor
from api.totals import Tally
from shared.broker import Broker
from shared.changes import Announcer
from shared.db import Database
from shared.settings import Settings


@dataclass(frozen=True)
class Services:
    """Everything that a request may need; each part serves many threads at once."""

    settings: Settings
    database: Database
    broker: Broker
    predictor: Predictor = field(default_factory=Predictor)
    tally: Tally = field(default_factory=Tally)


@contextmanager
def open_services(settings: Settings) -> Iterator[Services]:
    """The services, closed at the end. Neither the database nor the broker needs to answer yet."""
    with closing(Announcer(settings)) as announcer, closing(Broker(settings)) as broker:
        database = Database(settings.effective_database_url, committed=announcer)
        try:
            yield Services(settings, database, broker)
        finally:
            database.dispose()
