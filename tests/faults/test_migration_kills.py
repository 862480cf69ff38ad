"""The migration that moves the rows of 0.1.0 into the tables of 0.2.0 is killed, again and again."""

import pytest
from sqlalchemy import inspect

from tests.support import old_rows
from tests.support.databases import open_database
from tests.support.killed_migration import kill_migration
from tests.support.moved_rows import check

pytestmark = [pytest.mark.faults, pytest.mark.kills]

_COMMITS = (9, 1, 2, 3, 4, 2, 5, 4, 8, 9)
"""How many transactions each of the killed has begun to commit."""


def test_a_move_that_is_killed_ten_times_has_the_same_end(old_url: str) -> None:
    with open_database(old_url) as database:
        before = old_rows.contents(database.engine)
    for commits in _COMMITS:
        kill_migration(old_url, commits)
        with open_database(old_url) as database:
            assert database.missing_step() == "run `trainshed migrate` again"
            assert not inspect(database.engine).has_table("jobs")
    with open_database(old_url) as database:
        database.migrate()
        check(before, old_rows.contents(database.engine))
        assert not database.missing_step()
