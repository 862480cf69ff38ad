"""Members of two JSON objects together, in an UPDATE."""

from typing import Any

import pytest
from sqlalchemy import JSON, bindparam, select, update

from shared.db.engine import Database
from shared.db.json_merge import merged
from shared.db.tables import Job
from tests.support import queue_driver, stored


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (None, {}, {}),
        (None, {"a": 1.5}, {"a": 1.5}),
        ({"a": 1.5}, {}, {"a": 1.5}),
        ({"a": 1.5, "b": None}, {"a": None, 'c"': 5e-324}, {"a": None, "b": None, 'c"': 5e-324}),
        ({"a": None}, {"a": 1.7976931348623157e308}, {"a": 1.7976931348623157e308}),
    ],
)
def test_members_of_the_second_replace_those_of_the_first(
    database: Database, first: dict[str, Any] | None, second: dict[str, Any], expected: dict[str, Any]
) -> None:
    job_id = queue_driver.submit(database)
    if first is not None:
        stored.set_columns(database, job_id, last_values=first)
    added = merged(Job.last_values, bindparam("added", second, type_=JSON()))
    statement = update(Job).where(Job.id == job_id).values(last_values=added)

    database.write(lambda session: session.execute(statement))

    values = database.read(lambda session: session.scalar(select(Job.last_values))) or {}
    # PostgreSQL writes numbers without an exponent
    assert {name: value if value is None else float(value) for name, value in values.items()} == expected
