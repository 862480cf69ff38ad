"""The store against its model, in orders that nobody thought of; `tests/faults` runs more of them."""

import pytest

from shared.db.engine import Database
from tests.support.store_machine import run_machine


@pytest.mark.timeout(600)  # a failure is shrunk to its shortest form, which takes minutes
def test_the_store_does_what_its_model_does() -> None:
    database = Database("sqlite://")  # in memory
    database.migrate()
    run_machine(database, runs=40)
    database.dispose()
