"""Members of two JSON objects together, in an UPDATE."""

from typing import Any

import pytest
from sqlalchemy import JSON, bindparam, update

from shared.db.engine import Database
from shared.db.json_merge import merged
from shared.db.tables import Job
from tests.support import queue_driver, stored


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, {}),
        ({}, {"a": 1.5}, {"a": 1.5}),
        ({"a": 1.5}, {}, {"a": 1.5}),
        ({"a": 1.5, "b": None}, {"a": None, 'c"': 5e-324}, {"a": None, "b": None, 'c"': 5e-324}),
        ({"a": None}, {"a": 1.7976931348623157e308}, {"a": 1.7976931348623157e308}),
    ],
)
def test_members_of_the_second_replace_those_of_the_first(
    database: Database, first: dict[str, Any], second: dict[str, Any], expected: dict[str, Any]
) -> None:
    job_id = stored.set_columns(database, queue_driver.submit(database), last_values=first)
    added = merged(Job.last_values, bindparam("added", second, type_=JSON()))
    statement = update(Job).where(Job.id == job_id).values(last_values=added)

    database.write(lambda session: session.execute(statement))

    values = stored.job(database, job_id).last_values
    # PostgreSQL writes numbers without an exponent
    assert {name: value if value is None else float(value) for name, value in values.items()} == expected
