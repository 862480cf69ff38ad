"""Idempotency keys: one job for one key."""

from uuid import UUID

import pytest
from sqlalchemy import delete

from shared.db.engine import Database
from shared.db.tables import IdempotencyKey, Job
from shared.errors import IdempotencyKeyReused
from shared.store.idempotency import Idempotency, find_replay
from shared.store.submissions import NewJob
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


def test_a_deleted_job_takes_its_idempotency_key_with_it(database: Database) -> None:
    new = make_new_job()
    _submit(database, new, Idempotency("k", "a" * 64))
    database.write(lambda session: session.execute(delete(Job).where(Job.id == new.id)))
    assert database.read(lambda session: session.get(IdempotencyKey, "k")) is None


def test_an_earlier_request_is_found_by_its_key(database: Database) -> None:
    new, key = make_new_job(), Idempotency("k", "a" * 64)
    database.write(lambda session: submit_job(session, new, idempotency=key))
    assert database.read(lambda session: find_replay(session, key)) == new.id
    with pytest.raises(IdempotencyKeyReused):
        database.read(lambda session: find_replay(session, Idempotency("k", "b" * 64)))
