"""Prometheus's metrics of the API's dependencies: database errors and sessions, Redis, workers' purges.

The errors and the state of Redis are as this process observes them; the other metrics are the same in every
API process.
"""

from collections.abc import Iterator

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from sqlalchemy.orm import Session

from api.monitoring.prometheus import Families
from api.services import Services
from shared.broker import Broker, BrokerUnavailable
from shared.db import postgresql
from shared.db.clock import Now, database_now
from shared.db.outages import Outages, Reason
from shared.settings import Settings
from shared.store import retention


def dependencies_exposition(services: Services, *, now: Now = database_now) -> bytes:
    """Return the metrics of the dependencies in Prometheus's text format."""
    read = services.database.read(
        lambda session: [*_sessions(session), _purges(session, services.settings, now)]
    )
    return generate_latest(Families([_errors(services.database.outages), _redis(services.broker), *read]))


def _errors(outages: Outages) -> Metric:
    family = CounterMetricFamily(
        "trainshed_database_errors",
        "Transactions that failed because the database could not be used, also those that were run again.",
        labels=("reason",),
    )
    for reason in Reason:
        family.add_metric((reason,), outages.counts.get(reason, 0))
    return family


def _redis(broker: Broker) -> Metric:
    is_up = True
    try:
        broker.check()
    except BrokerUnavailable:
        is_up = False
    return GaugeMetricFamily("trainshed_redis_up", "Whether Redis can be used: 1, or 0.", is_up)


def _sessions(session: Session) -> Iterator[Metric]:
    connection = session.connection()
    if connection.dialect.name != "postgresql":
        return
    load = postgresql.load(connection)
    yield GaugeMetricFamily(
        "trainshed_database_connections", "Connections to PostgreSQL, by all programs.", load.connections
    )
    yield GaugeMetricFamily(
        "trainshed_database_connections_max", "Connections that PostgreSQL admits.", load.max_connections
    )
    yield GaugeMetricFamily(
        "trainshed_database_oldest_transaction_seconds",
        "Seconds since the oldest transaction began, of those that this role may see.",
        load.oldest_transaction_s,
    )


def _purges(session: Session, settings: Settings, now: Now) -> Metric:
    retention_s = settings.job_retention_s
    overdue_s = retention.overdue_s(session, retention_s, now=now) if retention_s else 0.0
    return GaugeMetricFamily(
        "trainshed_purge_overdue_seconds",
        "Seconds by which the oldest job that is to be deleted has outlived JOB_RETENTION_S.",
        overdue_s,
    )
