"""Short ids: looked up by their first or last digits."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.errors import AmbiguousId, JobNotFound, ModelNotFound
from shared.schemas import ModelPatch
from shared.store import models, references
from tests.support import queue_driver
from tests.support.statements import selects

FIRST = UUID("01900000-0000-7000-8000-0000aaaa1111")
SECOND = UUID("01910000-0000-7000-8000-0000bbbb1111")


@pytest.fixture
def find(database: Database) -> Callable[..., Any]:
    """Looks up a job among two."""
    for job_id in (FIRST, SECOND):
        queue_driver.submit(database, id=job_id)

    def find(reference: UUID | str) -> UUID:
        return database.read(lambda session: references.find_job(session, reference))

    return find


@pytest.mark.parametrize(
    "reference",
    ["aaaa1111", "AAAA1111", "-0000aaaa1111", "0190", "01900000-0", "019000000000700", str(FIRST)[1:]],
)
def test_an_id_is_found_by_its_last_or_its_first_digits(find: Callable[..., UUID], reference: str) -> None:
    assert find(reference) == FIRST


def test_digits_of_no_id_are_refused(find: Callable[..., UUID]) -> None:
    for digits in ("ffff", "0000aaaa", "-" * 4, "a" * 33):
        with pytest.raises(JobNotFound, match=f"no job's id begins or ends with {digits}: give the whole id"):
            find(digits)


def test_digits_of_several_ids_are_refused_with_those(find: Callable[..., UUID]) -> None:
    for digits in ("1111", "019"):
        with pytest.raises(
            AmbiguousId, match=f"begin or end with {digits}: {SECOND}, {FIRST}; give more digits"
        ):
            find(digits)


def test_of_many_ids_with_the_same_digits_three_are_named(database: Database) -> None:
    ids = [UUID(f"0190000{n}-0000-7000-8000-0000aaaa1111") for n in range(9)]
    for job_id in ids:
        queue_driver.submit(database, id=job_id)
    for digits in ("0190", "aaaa1111"):
        with pytest.raises(AmbiguousId, match=f"{digits}: {ids[8]}, {ids[7]}, {ids[6]}, and others; give"):
            database.read(partial(references.find_job, reference=digits))


def test_a_whole_id_needs_no_statement_and_need_not_exist(database: Database) -> None:
    unknown = uuid4()

    def find(session: Session) -> None:
        assert references.find_jobs(session, [unknown, unknown]) == (unknown,)

    assert selects(database, find) == []


def test_only_the_newest_ids_are_searched_for_their_last_digits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "_SEARCHED", 1)
    for job_id in (FIRST, SECOND):
        queue_driver.submit(database, id=job_id)

    assert database.read(lambda session: references.find_job(session, "1111")) == SECOND
    assert database.read(lambda session: references.find_job(session, "0190")) == FIRST


def test_a_model_is_found_by_digits_of_its_id(database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    queue_driver.succeeded(database)

    def find(reference: UUID | str) -> UUID:
        return database.read(lambda session: models.find(session, reference).id)

    for reference in (model.id, str(model.id)[-8:], str(model.id)[:-2]):
        assert find(reference) == model.id
    with pytest.raises(ModelNotFound, match="no model's id begins or ends with ffffffff"):
        find("ffffffff")


def test_an_alias_precedes_digits(database: Database) -> None:
    (_, first), (_, second) = queue_driver.succeeded(database), queue_driver.succeeded(database)
    alias = "abcd"
    database.write(lambda session: models.patch(session, second.id, ModelPatch(alias=alias)))

    assert database.read(lambda session: models.find(session, alias).id) == second.id != first.id
