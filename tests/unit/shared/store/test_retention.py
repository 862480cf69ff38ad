"""What is past its retention is deleted; what is wanted, or younger, stays."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, select, text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared.db.clock import database_now
from shared.db.engine import Database
from shared.db.tables import IdempotencyKey, JobLog, Sweep
from shared.errors import ModelNotFound
from shared.lifecycle import JobState
from shared.schemas import LogLevel, ModelPatch
from shared.store import attempts, job_edits, job_logs, models, retention
from shared.store.event_log import changed_jobs
from shared.store.idempotency import Idempotency
from shared.store.job_logs import Line
from shared.store.submissions import NewJob, NewJobs
from shared.store.submit import submit_job, submit_jobs
from shared.store.transitions import AttemptId
from tests.support import factories, queue_driver, stored
from tests.support.statements import ON_SQLITE, plan, selects
from tests.support.waiting import wait_until

_NOT_OF_JOBS = ("tenants", "version_floor")


def _rows(database: Database) -> dict[str, int]:
    rows = database.read(stored.rows_by_table)
    return {name: count for name, count in rows.items() if name not in _NOT_OF_JOBS}


def _keys(database: Database, retention_s: float = 0.0, **options: object) -> list[retention.EndKey]:
    read = partial(retention.finished, retention_s=retention_s, limit=100)
    return database.read(partial(read, **options))


def _a_minute_later(offset_s: float = 0.0, /) -> ColumnElement[datetime]:
    return database_now(offset_s + 61)


def _finished(database: Database, retention_s: float = 0.0) -> list[UUID]:
    return [job_id for _, job_id in _keys(database, retention_s)]


def _delete_jobs(database: Database, *job_ids: UUID) -> int:
    return database.write(partial(retention.delete_jobs, job_ids=job_ids))


def _delete_models(database: Database, *job_ids: UUID) -> int:
    return database.write(partial(retention.delete_models, job_ids=job_ids))


def _evaluated(database: Database, model_id: UUID) -> UUID:
    """A job that has evaluated the model."""
    attempt = _evaluating(database, model_id)
    queue_driver.succeed_evaluation(database, attempt, model_id, factories.make_evaluation())
    return attempt.job_id


def _evaluating(database: Database, model_id: UUID) -> AttemptId:
    spec = factories.make_evaluate_spec(model_id)
    return queue_driver.running(database, kind="evaluate", spec=spec, model_id=model_id)


def _name(database: Database, model_id: UUID) -> None:
    database.write(lambda session: models.patch(session, model_id, ModelPatch(alias="champion")))


def test_jobs_are_read_in_the_order_in_which_they_ended(database: Database) -> None:
    states = queue_driver.one_of_each_state(database)
    ended = [states[state] for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)]
    assert _finished(database) == ended
    assert _finished(database, retention_s=60) == []
    assert [job_id for _, job_id in _keys(database, 60, now=_a_minute_later)] == ended


def test_batches_follow_each_other_also_where_jobs_ended_at_one_moment(database: Database) -> None:
    for _ in range(5):
        queue_driver.cancelled(database)
    read: list[UUID] = []
    after = None
    while batch := _keys(database, after=after, limit=2):
        read += [job_id for _, job_id in batch]
        after = batch[-1]
    assert read == _finished(database)
    assert len(set(read)) == 5


@ON_SQLITE
def test_a_batch_is_found_by_the_index(database: Database) -> None:
    key = (datetime(2026, 1, 2, tzinfo=UTC), uuid7())
    [statement] = selects(database, partial(retention.finished, retention_s=60, after=key, limit=5))
    assert "INDEX ix_jobs_finished_at (finished_at>? AND finished_at<?)" in plan(database, statement)


def test_deleting_jobs_deletes_all_that_belongs_to_them(database: Database) -> None:
    before = _rows(database)
    queue_driver.succeeded(database, tags=("a",))
    queue_driver.failed(database)
    queue_driver.cancelled(database)
    assert _delete_jobs(database, *_finished(database)) == 3
    assert _rows(database) == before


def test_other_jobs_stay(database: Database) -> None:
    first, second = queue_driver.succeeded(database)[0], queue_driver.failed(database)
    retry = queue_driver.submit(database, retry_of=second)
    assert _delete_jobs(database, second) == 1
    assert stored.job(database, first).model_id is not None
    assert stored.job(database, retry).retry_of == second
    assert _delete_jobs(database, second) == 0


@pytest.mark.parametrize("delete", [_delete_jobs, _delete_models])
@pytest.mark.parametrize("want", [_name, _evaluating, _evaluated])
def test_a_wanted_model_and_its_job_stay(
    database: Database, want: Callable[[Database, UUID], object], delete: Callable[..., int]
) -> None:
    job_id, model = queue_driver.succeeded(database)
    want(database, model.id)
    before = _rows(database)
    assert delete(database, job_id) == 0
    assert _rows(database) == before


def test_a_job_goes_after_the_evaluations_of_its_model(database: Database) -> None:
    job_id, model = queue_driver.succeeded(database)
    evaluation = _evaluated(database, model.id)
    both = _finished(database)
    assert both == [job_id, evaluation]
    assert _delete_jobs(database, *both) == 1
    assert _delete_jobs(database, *both) == 1
    assert _finished(database) == []


def test_a_job_whose_model_was_deleted_keeps_its_results(database: Database) -> None:
    job_id, model = queue_driver.succeeded(database)
    assert _delete_models(database, job_id) == 1
    assert _delete_models(database, job_id) == 0
    rows = _rows(database)
    assert (rows["artifacts"], rows["results"], rows["epochs"]) == (0, 1, 3)
    with pytest.raises(ModelNotFound):
        database.read(lambda session: models.detail(session, model.id))


def test_weights_of_epochs_go_with_the_model_or_without_one(database: Database) -> None:
    for finish in (queue_driver.succeed, None):
        attempt = queue_driver.running(database)
        queue_driver.record(database, attempt, 1, keep_weights=True)
        if finish:
            finish(database, attempt, factories.make_model())
        else:
            database.write(partial(attempts.cancel_attempt, attempt=attempt))
    assert _rows(database)["epoch_weights"] == 2
    assert _delete_models(database, *_finished(database)) == 1
    assert _rows(database)["epoch_weights"] == 0


def test_logs_are_deleted_and_the_job_stays(database: Database) -> None:
    attempt, other = queue_driver.running(database), queue_driver.running(database)
    for each in (attempt, other):
        lines = [Line(n, datetime(2026, 1, 2, tzinfo=UTC), LogLevel.INFO, "x", {}) for n in (1, 2)]
        database.write(partial(job_logs.append, lines={each: lines}))
    assert database.write(partial(retention.delete_logs, job_ids=[attempt.job_id])) == 1
    remaining = database.read(lambda session: set(session.scalars(select(JobLog.job_id))))
    assert remaining == {other.job_id}
    assert stored.count_jobs(database) == 2


def _keyed(database: Database, key: str) -> UUID:
    """Store a queued job with an idempotency key."""
    new = NewJobs([factories.make_new_job()], Idempotency.of(key, "request"))
    database.write(lambda session: submit_jobs(session, [new]))
    return new.id


def _purge_keys(database: Database, retention_s: float = 59.0, limit: int = 10) -> list[str]:
    """Delete old keys a minute from now, as the purge does; return those that are left."""

    def purge(session: Session) -> None:
        batch = retention.old_keys(session, retention_s=retention_s, limit=limit, now=_in_a_minute)
        retention.delete_keys(session, batch, retention_s=retention_s, now=_in_a_minute)

    database.write(purge)
    return database.read(
        lambda session: list(session.scalars(select(IdempotencyKey.key).order_by(IdempotencyKey.key)))
    )


def _cancel(database: Database, job_id: UUID) -> None:
    database.write(partial(job_edits.request_cancel, job_id=job_id))


def _in_a_minute(offset_s: float = 0.0, /) -> ColumnElement[datetime]:
    return database_now(offset_s + 60)


def test_keys_are_deleted_when_their_job_has_ended_long_ago_and_the_job_stays(database: Database) -> None:
    ended, _queued = _keyed(database, "ended"), _keyed(database, "queued")
    _cancel(database, ended)
    assert _purge_keys(database, retention_s=61.0) == ["ended", "queued"]
    assert _purge_keys(database) == ["queued"]
    assert stored.count_jobs(database) == 2


def test_the_key_of_a_deleted_job_is_kept_as_long_as_others(database: Database) -> None:
    job_id = _keyed(database, "k")
    _cancel(database, job_id)
    assert _delete_jobs(database, job_id) == 1
    assert stored.count_jobs(database) == 0
    assert _purge_keys(database, retention_s=61.0) == ["k"]
    assert _purge_keys(database) == []


def test_old_keys_are_read_in_batches(database: Database) -> None:
    jobs = [(_keyed(database, str(number)), str(number)) for number in range(5)]
    old = partial(retention.old_keys, retention_s=59.0, limit=2, now=_in_a_minute)
    assert database.read(old) == jobs[:2]
    assert database.read(partial(old, after=jobs[1])) == jobs[2:4]
    assert database.read(partial(old, after=jobs[4])) == []
    assert database.read(partial(retention.old_keys, retention_s=59.0, limit=2)) == []


def test_a_sweep_goes_with_its_last_job(database: Database) -> None:
    _, (first, second) = queue_driver.submit_sweep(database, epochs=[1, 2])
    for job_id in (first, second):
        stored.set_columns(
            database, job_id, state=JobState.CANCELLED, finished_at=datetime(2026, 1, 2, tzinfo=UTC)
        )
    _delete_jobs(database, first)
    assert _rows(database)["sweeps"] == 1
    _delete_jobs(database, second)
    assert database.read(lambda session: session.scalar(select(Sweep))) is None


def test_several_processes_delete_each_job_once(database: Database) -> None:
    for _ in range(30):
        queue_driver.cancelled(database)
    ids = _finished(database)
    with ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(lambda _: _delete_jobs(database, *ids), range(8)))
    assert sum(counts) == 30
    assert stored.count_jobs(database) == 0


def test_deleted_jobs_are_announced(database: Database) -> None:
    job_id = queue_driver.failed(database)

    def delete_and_tell(session: Session) -> frozenset[UUID]:
        retention.delete_jobs(session, [job_id])
        return changed_jobs(session)

    assert database.write(delete_and_tell) == {job_id}


def _evaluation(model_id: UUID, *after: UUID) -> NewJob:
    spec = factories.make_evaluate_spec(model_id)
    return factories.make_new_job(kind="evaluate", spec=spec, model_id=model_id, after=after)


@pytest.mark.parametrize("is_after", [False, True], ids=["the model", "the model, after its training"])
def test_a_job_that_is_to_evaluate_a_model_that_was_purged_meanwhile_is_refused(
    database: Database, is_after: bool
) -> None:
    job_id, model = queue_driver.succeeded(database)
    new = _evaluation(model.id, *[job_id] * is_after)
    assert database.write(partial(retention.delete_models, job_ids=[job_id])) == 1
    with pytest.raises(ModelNotFound, match=f"no model {model.id}"):
        database.write(partial(submit_job, new=new))


@pytest.mark.parametrize("delete", [retention.delete_models, retention.delete_jobs])
def test_a_model_is_not_purged_while_a_job_is_submitted_that_evaluates_it(
    postgresql: Database, delete: Callable[..., int]
) -> None:
    job_id, model = queue_driver.succeeded(postgresql)
    with postgresql.engine.connect() as connection, Session(connection) as session:
        submit_job(session, _evaluation(model.id))
        assert postgresql.write(partial(delete, job_ids=[job_id])) == 0
        session.commit()
    assert postgresql.write(partial(delete, job_ids=[job_id])) == 0


@pytest.mark.parametrize("delete", [retention.delete_models, retention.delete_jobs])
def test_a_submission_waits_for_the_purge_of_the_model_that_it_evaluates(
    postgresql: Database, delete: Callable[..., int]
) -> None:
    job_id, model = queue_driver.succeeded(postgresql)
    submit = partial(submit_job, new=_evaluation(model.id))
    with ThreadPoolExecutor(1) as thread, postgresql.engine.connect() as connection:
        with Session(connection) as session:
            assert delete(session, [job_id]) == 1
            submitting = thread.submit(postgresql.write, submit)
            wait_until(lambda: _waits_for_lock(postgresql), "the submission waits")
            session.commit()
        with pytest.raises(ModelNotFound):
            submitting.result(20)


def _waits_for_lock(database: Database) -> bool:
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    return bool(database.read(lambda session: session.scalar(waiting)))
