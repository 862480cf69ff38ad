"""Group commit: a submission that waits for a row or a key that another transaction has locked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Preemption
from shared.schemas import Priority
from shared.store import group_commit, preemption
from shared.store.group_commit import GroupCommit, NotCommitted
from shared.store.idempotency import Idempotency, KeyOwner, claim_keys
from shared.store.places import DEFAULT_RULES
from shared.store.submissions import NewJobs, Receipt
from tests.support import queue_driver, registry, stored
from tests.support.factories import make_evaluate_spec, make_new_job
from tests.support.queue_driver import cancelled, submit
from tests.support.waiting import wait_until

KEY = Idempotency("k", "a" * 64)


def _new(key: Idempotency | None = None, **options: Any) -> NewJobs:
    return NewJobs([make_new_job(**options)], key)


def _evaluation(model_id: UUID, *after: UUID) -> NewJobs:
    spec = make_evaluate_spec(model_id)
    return _new(KEY, kind="evaluate", spec=spec, model_id=model_id, after=after)


@contextmanager
def _locked(database: Database, row_id: UUID, table: str = "jobs") -> Iterator[Session]:
    """Another transaction that has locked a job or a model, as that of a cancel or of a stopped worker."""
    with Session(database.engine) as other:
        other.execute(text(f"SELECT 1 FROM {table} WHERE id = :id FOR UPDATE"), {"id": str(row_id)})
        yield other


def _go_on(submissions: GroupCommit, database: Database) -> None:
    """Check that others' submissions are stored, at once."""
    with ThreadPoolExecutor(4) as pool:
        others = [_new(Idempotency(f"other {number}", "c" * 64)) for number in range(20)]
        for result in [pool.submit(submissions.submit, new) for new in others]:
            assert not result.result(1.0).replayed
    assert {new.id for new in others} <= set(stored.job_ids(database))


def _naming(database: Database, how: str) -> tuple[NewJobs, UUID]:
    """A submission that names a row of a job or a model in this way, and the row's id."""
    if how == "model_id":
        row_id = queue_driver.succeeded(database)[0]
        return _evaluation(row_id), row_id
    row_id = cancelled(database) if how == "retry_of" else submit(database)
    return _new(KEY, **{how: row_id if how == "retry_of" else (row_id,)}), row_id


@pytest.mark.parametrize(("how", "table"), [("after", "jobs"), ("retry_of", "jobs"), ("model_id", "models")])
def test_one_that_waits_for_a_row_holds_up_no_other_and_is_stored_when_the_row_is_free(
    postgresql: Database, how: str, table: str
) -> None:
    waiting, row_id = _naming(postgresql, how)
    with closing(GroupCommit(postgresql, lambda _queues: None)) as submissions, ThreadPoolExecutor(1) as pool:
        with _locked(postgresql, row_id, table):
            result = pool.submit(submissions.submit, waiting)
            _go_on(submissions, postgresql)
            assert not result.done()
        assert result.result(1.0).job_id == waiting.id


@pytest.mark.parametrize("noun", ["job", "model"])
def test_one_that_waits_for_a_row_too_long_is_told_which(postgresql: Database, noun: str) -> None:
    job_id, model = queue_driver.succeeded(postgresql)
    with (
        closing(GroupCommit(postgresql, lambda _queues: None)) as submissions,
        _locked(postgresql, job_id, f"{noun}s"),
    ):
        with pytest.raises(NotCommitted, match=f"another transaction has locked {noun} {job_id}"):
            submissions.submit(_evaluation(model.id, job_id))
        _go_on(submissions, postgresql)
        assert not submissions.submit(_new(KEY)).replayed  # its key is free


def test_more_than_can_wait_for_rows_are_refused_at_once(
    postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "_MAX_ASIDE", 2)
    job_id = submit(postgresql)
    with closing(GroupCommit(postgresql, lambda _queues: None)) as submissions, ThreadPoolExecutor(3) as pool:
        with _locked(postgresql, job_id):
            results = [pool.submit(submissions.submit, _new(after=(job_id,))) for _ in range(3)]
            wait_until(lambda: any(result.done() for result in results), "one of them is refused")
        errors = [result.exception(2.0) for result in results]
    assert sorted(str(type(error)) for error in errors if error) == [str(NotCommitted)]


def test_a_repeated_one_is_found_although_the_jobs_that_it_names_are_locked(postgresql: Database) -> None:
    job_id = submit(postgresql)
    with closing(GroupCommit(postgresql, lambda _queues: None)) as submissions:
        first = submissions.submit(_new(KEY, after=(job_id,)))
        with _locked(postgresql, job_id):
            assert submissions.submit(_new(KEY, after=(job_id,))) == Receipt(first.job_id, None)


def test_one_whose_key_another_process_is_storing_holds_up_no_other(postgresql: Database) -> None:
    first, again = _new(KEY), _new(KEY)
    with closing(GroupCommit(postgresql, lambda _queues: None)) as submissions, ThreadPoolExecutor(1) as pool:
        with Session(postgresql.engine) as other:
            claim_keys(other, [(KEY, KeyOwner("a" * 64, first.id))], datetime.now(UTC), waits=False)
            result = pool.submit(submissions.submit, again)
            _go_on(submissions, postgresql)
            assert not result.done()
            other.commit()
        assert result.result(1.0) == Receipt(first.id, None)


def test_an_urgent_one_waits_for_no_job_that_it_could_preempt(postgresql: Database) -> None:
    registry.worker(postgresql, slots=1, lost_after_s=1e6)
    victim = queue_driver.running(postgresql)
    with (
        closing(GroupCommit(postgresql, lambda _queues: None)) as submissions,
        _locked(postgresql, victim.job_id),
    ):
        urgent = submissions.submit(_new(priority=Priority.URGENT))
        _go_on(submissions, postgresql)
    assert postgresql.read(lambda session: session.scalar(select(func.count()).select_from(Preemption))) == 0
    asked = postgresql.write(partial(preemption.request, queue_names=["default"], min_run_s=60.0))
    assert (asked, urgent.job_id in stored.job_ids(postgresql)) == ([victim], True)


def test_a_process_that_stops_amid_a_group_holds_up_others_for_less_than_their_patience(
    postgresql: Database,
) -> None:
    with (
        closing(GroupCommit(postgresql, lambda _queues: None)) as submissions,
        Session(postgresql.engine) as stopped,
    ):
        group_commit._store(stopped, [group_commit._Waiting(_new(KEY))], DEFAULT_RULES)  # and does not commit
        other = submissions.submit(_new())  # needs nothing of it
        receipt = submissions.submit(_new(KEY))
        with pytest.raises(OperationalError, match="server closed the connection"):
            stopped.execute(text("SELECT 1"))
    assert {*stored.job_ids(postgresql)} == {other.job_id, receipt.job_id}


def test_what_is_set_aside_is_told_when_it_is_closed(postgresql: Database) -> None:
    job_id = submit(postgresql)
    submissions = GroupCommit(postgresql, lambda _queues: None)
    with ThreadPoolExecutor(1) as pool, _locked(postgresql, job_id):
        result = pool.submit(submissions.submit, _new(after=(job_id,)))
        wait_until(lambda: submissions._aside, "it is set aside")
        submissions.close()
        with pytest.raises(NotCommitted, match="the API ends"):
            result.result(1.0)
