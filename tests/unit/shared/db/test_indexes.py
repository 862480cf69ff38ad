"""The indexes of `jobs`: few, and none is changed while a job runs."""

import re
from functools import partial
from uuid import UUID

from sqlalchemy import inspect, select

from shared.db.engine import Database
from shared.db.tables import Base, Job
from shared.store import leases
from tests.support.queue_driver import LEASE_S, record, running

JOBS = Base.metadata.tables[Job.__tablename__]


def _row(database: Database, job_id: UUID) -> dict[str, object]:
    chosen = select(JOBS).where(JOBS.c.id == job_id)
    return dict(database.read(lambda session: session.execute(chosen).mappings().one()))


def test_jobs_have_at_most_nine_indexes_besides_the_primary_key(database: Database) -> None:
    indexes = inspect(database.engine).get_indexes(JOBS.name)
    assert {index["name"] for index in indexes} == {index.name for index in JOBS.indexes}
    assert len(indexes) <= 9


def test_renewals_and_recorded_epochs_change_no_column_of_an_index(database: Database) -> None:
    attempt = running(database)
    before = _row(database, attempt.job_id)
    database.write(partial(leases.renew, attempts=[attempt], lease_s=2 * LEASE_S))
    record(database, attempt, 1)
    after = _row(database, attempt.job_id)
    changed = {name for name, value in after.items() if value != before[name]}
    assert {"lease_expires_at", "next_epoch", "version", "last_values"} <= changed
    for index in JOBS.indexes:
        where = str(index.dialect_options["postgresql"]["where"])  # its columns count, too
        assert not changed & {*index.columns.keys(), *re.findall(r"\w+", where)}, index.name
