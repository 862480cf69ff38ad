"""What the API depends on is reported: Redis, PostgreSQL's sessions, what transactions meet, late purges."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import pytest

from api.monitoring.dependencies import dependencies_exposition
from api.services import Services, open_services
from shared.db.engine import Database
from shared.settings import Settings
from tests.support import registry, stored
from tests.support.fakes import FrozenClock
from tests.support.prometheus_samples import Samples, read, value
from tests.support.queue_driver import running, succeeded
from tests.support.servers import RedisServer

DAY_S = 86_400.0


@pytest.fixture
def services(live_settings: Settings) -> Iterator[Services]:
    """The services of an API that keeps jobs for a day."""
    kept_for_a_day = live_settings.model_copy(update={"job_retention_s": DAY_S})
    with open_services(kept_for_a_day) as services:
        yield services


def samples(services: Services) -> Samples:
    return read(dependencies_exposition(services))


def end_of(database: Database, job_id: UUID) -> datetime:
    end = stored.job(database, job_id).finished_at
    assert end is not None
    return end


def test_errors_of_the_database_are_counted_by_reason_from_zero_on(services: Services) -> None:
    found = samples(services)
    for reason in ("full", "connections", "locked", "unavailable"):
        assert value(found, "database_errors_total", reason=reason) == 0


def test_redis_is_up_or_it_is_not(services: Services, redis: RedisServer) -> None:
    assert value(samples(services), "redis_up") == 1
    redis.stop()
    assert value(samples(services), "redis_up") == 0


def test_a_job_that_outlives_its_retention_is_reported(services: Services, database: Database) -> None:
    now = FrozenClock()
    job_id, _ = succeeded(database)
    running(database)
    now.moment = end_of(database, job_id)
    for seconds, overdue_s in ((0.0, 0.0), (DAY_S - 1, 0.0), (3_601.0, 3_600.0)):
        now.advance(seconds)
        found = read(dependencies_exposition(services, now=now))
        assert value(found, "purge_overdue_seconds") == pytest.approx(overdue_s, abs=0.01)


def test_a_job_whose_model_is_wanted_does_not_outlive_it(services: Services, database: Database) -> None:
    now = FrozenClock()
    job_id, model = succeeded(database)
    registry.change_model(database, model.id, alias="champion")
    now.moment = end_of(database, job_id)
    now.advance(2 * DAY_S)
    assert value(read(dependencies_exposition(services, now=now)), "purge_overdue_seconds") == 0


def test_postgresqls_sessions_are_reported(services: Services, database: Database) -> None:
    if database.engine.dialect.name == "sqlite":
        assert value(samples(services), "database_connections") is None
        return
    with database.engine.connect() as other:
        other.exec_driver_sql("SELECT 1 FROM jobs")
        other.exec_driver_sql("SELECT pg_sleep(0.1)")
        found = samples(services)
    assert value(found, "database_connections_max") == 97
    assert 2 <= (value(found, "database_connections") or 0) < 97
    assert (value(found, "database_oldest_transaction_seconds") or 0) >= 0.1
