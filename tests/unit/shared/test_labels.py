"""A job's name and tags may change at any time, and nothing else does."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from shared import labels
from shared.db import Database
from shared.errors import JobNotFound, VersionMismatch
from shared.lifecycle import EventType
from shared.tables import Job, JobEvent, JobTag
from tests import factories


def _edit(database: Database, job_id: UUID, versions: set[int] | None = None, **changes: Any) -> None:
    database.write(lambda session: labels.edit(session, job_id, changes, versions=versions))


def _stored(database: Database, job_id: UUID) -> tuple[str | None, list[str], int]:
    job = database.read(lambda session: session.get_one(Job, job_id))
    return job.name, job.tags, job.version


def _found_by(database: Database, tag: str) -> list[UUID]:
    return list(
        database.read(lambda session: session.scalars(select(JobTag.job_id).where(JobTag.tag == tag)).all())
    )


def test_an_edit_is_one_event(database: Database) -> None:
    job_id = factories.submitted(database, name="old", tags=("a",))
    _edit(database, job_id, name="new", tags=["b", "c"])
    assert _stored(database, job_id) == ("new", ["b", "c"], 2)
    event = database.read(lambda session: session.get_one(JobEvent, (job_id, 2)))
    assert (event.type, event.data) == (EventType.EDITED, {"name": "new", "tags": ["b", "c"]})


def test_what_an_edit_does_not_name_stays(database: Database) -> None:
    job_id = factories.submitted(database, name="old", tags=("a",))
    _edit(database, job_id, tags=[])
    assert _stored(database, job_id) == ("old", [], 2)
    _edit(database, job_id, name=None)
    assert _stored(database, job_id) == (None, [], 3)


def test_an_edit_that_changes_nothing_is_no_event(database: Database) -> None:
    job_id = factories.submitted(database, name="same")
    for _ in range(2):
        _edit(database, job_id, name="other")
    _edit(database, job_id)
    assert _stored(database, job_id) == ("other", [], 2)


def test_a_job_that_is_over_can_be_edited_and_stays_over(database: Database) -> None:
    job_id, _ = factories.succeeded(database)
    before = database.read(lambda session: session.get_one(Job, job_id))
    _edit(database, job_id, name="kept")
    after = database.read(lambda session: session.get_one(Job, job_id))
    assert (after.state, after.finished_at, after.version) == (
        "succeeded",
        before.finished_at,
        before.version + 1,
    )


def test_a_running_job_that_is_edited_goes_on(database: Database) -> None:
    attempt = factories.running(database)
    _edit(database, attempt.job_id, name="runs")
    factories.record(database, attempt, 3)
    factories.succeed(database, attempt, factories.make_model())


def test_a_job_is_found_by_the_tags_that_it_has_now(database: Database) -> None:
    job_id = factories.submitted(database, tags=("a", "b"))
    _edit(database, job_id, tags=["b", "c"])
    assert [_found_by(database, tag) for tag in "abc"] == [[], [job_id], [job_id]]


def test_an_edit_of_another_version_is_refused(database: Database) -> None:
    job_id = factories.submitted(database)
    _edit(database, job_id, {1}, name="first")
    with pytest.raises(VersionMismatch, match="version 2"):
        _edit(database, job_id, {1}, name="second")
    assert _stored(database, job_id) == ("first", [], 2)


def test_an_edit_that_was_made_already_is_not_refused(database: Database) -> None:
    # its first answer was lost with the connection
    job_id = factories.submitted(database)
    for _ in range(2):
        _edit(database, job_id, {1}, name="first")
    assert _stored(database, job_id) == ("first", [], 2)


def test_an_unknown_job_cannot_be_edited(database: Database) -> None:
    with pytest.raises(JobNotFound):
        _edit(database, uuid7(), name="x")
