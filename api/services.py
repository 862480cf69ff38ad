"""What the API works with: its settings, the database and the broker, opened once for a process."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from api.monitoring.job_counters import JobCounters
from api.prediction.onnx_models import OnnxModels
from shared.broker import Broker
from shared.db.engine import Database
from shared.settings import Settings
from shared.store.change_feed import ChangePublisher


@dataclass(frozen=True)
class Services:
    """Everything that a request may need; each part serves many threads at once."""

    settings: Settings
    database: Database
    broker: Broker
    predictor: OnnxModels = field(default_factory=OnnxModels)
    tally: JobCounters = field(default_factory=JobCounters)


@contextmanager
def open_services(settings: Settings) -> Iterator[Services]:
    """The services, closed at the end. Neither the database nor the broker needs to answer yet."""
    with closing(ChangePublisher(settings)) as announcer, closing(Broker(settings)) as broker:
        database = Database(settings.effective_database_url, committed=announcer)
        try:
            yield Services(settings, database, broker)
        finally:
            database.dispose()
