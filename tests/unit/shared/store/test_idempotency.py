"""Idempotency keys: one job for one key of a caller."""

from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import delete, func, select
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.db.tables import Job
from shared.errors import IdempotencyKeyReused
from shared.store.idempotency import Idempotency, KeyOwner, find_replay
from shared.store.submissions import NewJob, Submitter
from shared.store.submit import submit_job
from tests.support.factories import make_new_job
from tests.support.stored import all_rows


def _submit(database: Database, new: NewJob, key: Idempotency) -> tuple[UUID, bool]:
    return database.write(lambda session: submit_job(session, new, idempotency=key))


def test_a_request_repeated_with_its_idempotency_key_returns_the_first_job(database: Database) -> None:
    first, again, key = make_new_job(), make_new_job(), Idempotency("k", "a" * 64)
    assert _submit(database, first, key) == (first.id, True)
    assert _submit(database, again, key) == (first.id, False)
    assert database.read(lambda session: session.get(Job, again.id)) is None


def test_another_request_with_a_used_idempotency_key_is_refused(database: Database) -> None:
    _submit(database, make_new_job(), Idempotency("k", "a" * 64))
    before = database.read(all_rows)
    with pytest.raises(IdempotencyKeyReused, match="'k' was used for a different request"):
        _submit(database, make_new_job(), Idempotency("k", "b" * 64))
    assert database.read(all_rows) == before


def test_the_key_of_a_deleted_job_stays_and_stands_for_it(database: Database) -> None:
    new, again, key = make_new_job(), make_new_job(), Idempotency("k", "a" * 64)
    _submit(database, new, key)
    database.write(lambda session: session.execute(delete(Job).where(Job.id == new.id)))
    assert _submit(database, again, key) == (new.id, False)
    assert database.read(lambda session: session.scalar(select(func.count()).select_from(Job))) == 0


def test_a_key_is_its_callers_own(database: Database) -> None:
    callers = [uuid7(), uuid7(), None]
    keys = [Idempotency("k", "a" * 64, caller) for caller in callers]
    jobs = [make_new_job() for _ in callers]
    for new, key in zip(jobs, keys, strict=True):
        assert _submit(database, new, key) == (new.id, True)
    for new, key in zip(jobs, keys, strict=True):
        assert _submit(database, make_new_job(), key) == (new.id, False)
    another = Idempotency("k", "b" * 64, uuid7())
    assert _submit(database, make_new_job(), another)[1]


def test_the_longest_key_of_an_api_key_is_stored(database: Database) -> None:
    new, key = make_new_job(), Idempotency("x" * 255, "a" * 64, uuid7())
    assert _submit(database, new, key) == (new.id, True)
    assert _submit(database, make_new_job(), key) == (new.id, False)


def test_a_key_that_an_old_version_has_stored_is_found_by_the_caller_of_its_job(database: Database) -> None:
    caller, other, new = uuid7(), uuid7(), make_new_job()
    submit = partial(submit_job, new=new, submitter=Submitter(api_key_id=caller))
    database.write(lambda session: submit(session, idempotency=Idempotency("k", "a" * 64)))
    assert _submit(database, make_new_job(), Idempotency("k", "a" * 64, caller)) == (new.id, False)
    assert database.read(partial(find_replay, idempotency=Idempotency("k", "a" * 64, caller))) is not None
    assert _submit(database, make_new_job(), Idempotency("k", "a" * 64, other))[1]
    with pytest.raises(IdempotencyKeyReused):
        _submit(database, make_new_job(), Idempotency("k", "b" * 64, caller))


def test_an_earlier_request_is_found_by_its_key(database: Database) -> None:
    new, key = make_new_job(), Idempotency("k", "a" * 64)
    database.write(lambda session: submit_job(session, new, idempotency=key))
    owner = database.read(lambda session: find_replay(session, key))
    assert owner == KeyOwner("a" * 64, new.id)
    with pytest.raises(IdempotencyKeyReused):
        database.read(lambda session: find_replay(session, Idempotency("k", "b" * 64)))
