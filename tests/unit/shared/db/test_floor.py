"""A database says which is the oldest version of Trainshed that may use it, and others refuse."""

from pathlib import Path

import pytest
from sqlalchemy import delete

from shared.db import floor
from shared.db.engine import Database
from shared.db.floor import VersionOutdated
from shared.db.tables import VersionFloor
from tests.support.databases import open_database, raised_floor
from tests.support.queue_driver import submit
from tests.support.stored import count_jobs


def test_a_migrated_database_admits_this_version(database: Database) -> None:
    assert database.version_refusal() == ""


@pytest.mark.parametrize(
    ("own", "needed", "is_admitted"),
    [
        ("0.1.0", "0.1.0", True),
        ("0.10.0", "0.9.1", True),
        ("1.0.0", "0.99.99", True),
        ("0.2.0.dev3", "0.2.0", True),
        ("0.9.9", "0.10.0", False),
        ("0.1.0", "0.1.1", False),
        ("0.1.0rc1", "1.0.0", False),
    ],
)
def test_versions_are_compared_as_numbers(
    database: Database, own: str, needed: str, is_admitted: bool
) -> None:
    refusal = f"the database needs Trainshed {needed} or later, and this is {own}: install that"
    with raised_floor(database, needed), database.engine.connect() as connection:
        assert floor.refusal(connection, own) == ("" if is_admitted else refusal)


def test_a_database_without_a_floor_admits_all(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path / 'empty.db'}") as empty:
        assert empty.version_refusal() == ""
        empty.migrate()
        empty.write(lambda session: session.execute(delete(VersionFloor)))
        assert empty.version_refusal() == ""


def test_transactions_are_refused_until_they_are_not(database: Database) -> None:
    database.refuse("too old")
    for run in (database.read, database.write):
        with pytest.raises(VersionOutdated, match="too old"):
            run(lambda _: pytest.fail("it was run"))
    database.refuse("")
    submit(database)
    assert count_jobs(database) == 1
