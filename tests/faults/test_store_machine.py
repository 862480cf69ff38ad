"""The store compared with its model in long runs: 100,000 steps on SQLite, 10,000 on PostgreSQL."""

from pathlib import Path

import pytest

from shared.db.engine import Database
from tests.support.databases import open_database
from tests.support.store_machine import run_machine

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


def test_the_store_behaves_like_its_model_on_sqlite(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/store.db") as database:
        database.migrate()
        run_machine(database, runs=2_000)


def test_the_store_behaves_like_its_model_on_postgresql(postgresql: Database) -> None:
    run_machine(postgresql, runs=200)
