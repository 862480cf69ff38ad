"""INSERTs into tables that may have the row already."""

from shared.db.engine import Database
from shared.db.tables import Base, Checkpoint, Queue
from shared.db.upserts import insert_or_ignore, upsert, upsert_of
from tests.support.queue_driver import submit


def test_insert_or_ignore_keeps_the_existing_row(database: Database) -> None:
    job_id = submit(database)
    row = {"job_id": job_id, "next_epoch": 1, "state": b"first", "sha256": "x"}
    inserted = [
        database.write(lambda session: insert_or_ignore(session, Checkpoint, row)),
        database.write(lambda session: insert_or_ignore(session, Checkpoint, {**row, "state": b"second"})),
    ]
    assert inserted == [True, False]
    assert database.read(lambda session: session.get_one(Checkpoint, job_id).state) == b"first"


def test_upsert_replaces_the_existing_row(database: Database) -> None:
    job_id = submit(database)
    row = {"job_id": job_id, "next_epoch": 1, "state": b"first", "sha256": "x"}
    database.write(lambda session: upsert(session, Checkpoint, row))
    database.write(lambda session: upsert(session, Checkpoint, {**row, "next_epoch": 2, "state": b"second"}))
    stored = database.read(lambda session: session.get_one(Checkpoint, job_id))
    assert (stored.next_epoch, stored.state) == (2, b"second")


def test_upsert_of_changes_the_existing_row_and_returns_it(database: Database) -> None:
    table = Base.metadata.tables[Queue.__tablename__]
    dialect = database.engine.dialect.name

    def write(by: int) -> int:
        values = {"name": "default", "max_running": by}
        statement = upsert_of(dialect, table, values, {"max_running": table.c.max_running + by})
        return database.write(lambda session: int(session.execute(statement).one().max_running))

    assert [write(by) for by in (2, 1, 3)] == [2, 3, 6]
