"""The store against its model for long: 100,000 steps on SQLite, 10,000 on PostgreSQL."""

import pytest

from shared.db.engine import Database
from tests.support.store_machine import run_machine

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


def test_the_store_does_what_its_model_does_on_sqlite() -> None:
    database = Database("sqlite://")  # in memory
    database.migrate()
    run_machine(database, runs=2_000)
    database.dispose()


def test_the_store_does_what_its_model_does_on_postgresql(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    run_machine(database, runs=200)
    database.dispose()
