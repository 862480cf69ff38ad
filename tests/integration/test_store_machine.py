"""The store compared with its model in random orders of operations; `tests/faults` has longer runs."""

from pathlib import Path

import pytest

from tests.support.databases import open_database
from tests.support.store_machine import run_machine


@pytest.mark.timeout(600)  # a failure is shrunk to its shortest form, which takes minutes
def test_the_store_behaves_like_its_model(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/store.db") as database:
        database.migrate()
        run_machine(database, runs=20)
