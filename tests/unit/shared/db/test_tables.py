"""Constraints of the tables: CHECKs, foreign keys, the trigger on jobs, and one terminal event per job."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import CheckConstraint, insert, literal, select, text, update
from sqlalchemy.exc import IntegrityError, StatementError
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.db.tables import Base, Job, JobEvent, Preemption, Tenant, UtcDateTime, WebhookDelivery, Worker
from shared.lifecycle import TERMINAL, TRANSITIONS, EventType, JobState
from shared.schemas import Scope
from shared.store import api_keys, limits
from shared.store.api_keys import NewApiKey
from tests.support.queue_driver import (
    cancelled,
    failed,
    one_of_each_state,
    record,
    running,
    submit,
    succeeded,
)
from tests.support.registry import webhook, webhook_test
from tests.support.statements import ON_SQLITE
from tests.support.stored import set_columns

_MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

# a job in this state, and a change to it that breaks this constraint and no other
_BAD_JOBS: list[tuple[str, JobState, dict[str, Any]]] = [
    ("ck_jobs_kind", JobState.QUEUED, {"kind": "predict"}),
    ("ck_jobs_state", JobState.QUEUED, {"state": "paused", "attempt": 1}),
    ("ck_jobs_phase", JobState.RUNNING, {"phase": "thinking"}),
    ("ck_jobs_priority", JobState.QUEUED, {"priority": "first"}),
    ("ck_jobs_terminal_has_finished_at", JobState.SUCCEEDED, {"finished_at": None}),
    ("ck_jobs_terminal_has_finished_at", JobState.QUEUED, {"finished_at": _MOMENT}),
    ("ck_jobs_running_has_lease", JobState.RUNNING, {"lease_expires_at": None}),
    ("ck_jobs_running_has_lease", JobState.QUEUED, {"lease_expires_at": _MOMENT}),
    ("ck_jobs_running_has_owner", JobState.RUNNING, {"lease_owner": None}),
    ("ck_jobs_running_has_owner", JobState.CANCELLED, {"lease_owner": "worker-1"}),
    ("ck_jobs_phase_while_running", JobState.QUEUED, {"phase": "training"}),
    ("ck_jobs_failed_has_error", JobState.FAILED, {"error_code": None}),
    ("ck_jobs_failed_has_error", JobState.SUCCEEDED, {"error_code": "internal"}),
    ("ck_jobs_ran_has_attempt", JobState.RUNNING, {"attempt": 0}),
    ("ck_jobs_ran_has_attempt", JobState.FAILED, {"attempt": 0}),
    ("ck_jobs_counts", JobState.QUEUED, {"version": 0}),
    ("ck_jobs_counts", JobState.QUEUED, {"attempt": -1}),
    ("ck_jobs_counts", JobState.QUEUED, {"next_epoch": -1}),
    ("ck_jobs_failure_counts", JobState.QUEUED, {"failures": -1}),
    ("ck_jobs_failure_counts", JobState.QUEUED, {"lost_attempts": -1}),
    ("ck_jobs_failure_counts", JobState.QUEUED, {"max_attempts": 0}),
]
_BAD_UPDATES = [
    ("ck_api_keys_scope", "UPDATE api_keys SET scope = 'owner'"),
    ("ck_attempts_finished_has_outcome", "UPDATE attempts SET outcome = 'lost' WHERE outcome IS NULL"),
    ("ck_attempts_finished_has_outcome", "UPDATE attempts SET outcome = NULL"),
    ("ck_job_events_type", "UPDATE job_events SET type = 'paused' WHERE type = 'claimed'"),
    ("ck_artifacts_size", "UPDATE artifacts SET size = size + 1"),
    ("ck_epoch_weights_floats", "UPDATE epoch_weights SET content = ''"),
    ("ck_epoch_weights_floats", "UPDATE epoch_weights SET content = 'abcde'"),
    ("ck_class_results_counts", "UPDATE class_results SET rejected = count"),
    ("ck_workers_state", "UPDATE workers SET state = 'tired'"),
    ("ck_tenants_mean", "UPDATE tenants SET mean_s = -1"),
    ("ck_queues_max_running", "UPDATE queues SET max_running = 0"),
    ("ck_queues_says_something", "UPDATE queues SET max_running = NULL"),
    ("ck_preemptions_others", "UPDATE preemptions SET urgent_id = victim_id"),
    ("ck_webhooks_kind", "UPDATE webhooks SET kind = 'predict'"),
    ("ck_webhook_deliveries_of_job", "UPDATE webhook_deliveries SET state = 'failed'"),
    ("ck_webhook_deliveries_one_end", "UPDATE webhook_deliveries SET delivered_at = dead_at"),
    ("ck_webhook_deliveries_attempts", "UPDATE webhook_deliveries SET attempts = -1"),
    ("ck_version_floor_one_row", "UPDATE version_floor SET id = 2"),
    ("ck_job_dependencies_others", "UPDATE job_dependencies SET after_id = job_id"),
]


def _row(database: Database, job_id: UUID) -> dict[str, Any]:
    """The job's columns, as they are stored."""
    statement = select(*Job.__table__.columns).where(Job.id == job_id)
    return dict(database.read(lambda session: session.execute(statement).one()._mapping))


def _refusal(database: Database, statement: Any, *rows: dict[str, Any]) -> str:
    with pytest.raises(IntegrityError) as error:
        database.write(lambda session: session.execute(statement, *rows))
    return str(error.value.orig)


def test_every_check_constraint_has_a_test_case() -> None:
    constraints = {
        constraint.name
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert {name for name, *_ in [*_BAD_JOBS, *_BAD_UPDATES]} == constraints


def test_invalid_jobs_are_refused_by_their_constraints(database: Database) -> None:
    valid = {state: _row(database, job_id) for state, job_id in one_of_each_state(database).items()}
    same = [{**row, "id": uuid7()} for row in valid.values()]
    database.write(lambda session: session.execute(insert(Job), same))
    for constraint, state, change in _BAD_JOBS:
        refusal = _refusal(database, insert(Job), {**valid[state], "id": uuid7(), **change})
        assert constraint in refusal, (state, change)


def test_invalid_rows_of_other_tables_are_refused_by_their_constraints(database: Database) -> None:
    record(database, running(database), 1, keep_weights=True)
    succeeded(database)
    database.write(lambda session: api_keys.create(session, NewApiKey.draw(), name="key", scope=Scope.READ))
    tenant = {"queue": "default", "name": "t", "time_s": 0.0, "mean_s": 0.0, "served_at": _MOMENT}
    database.write(lambda session: session.execute(insert(Tenant), tenant))
    worker = {"id": "w", "host": "h", "pid": 1, "queues": [], "devices": [], "slots": 1, "versions": {}}
    moments = {"started_at": _MOMENT, "heartbeat_at": _MOMENT}
    database.write(lambda session: session.execute(insert(Worker), {**worker, **moments, "state": "online"}))
    database.write(lambda session: limits.limit_queue(session, "default", 3))
    request = {"victim_id": submit(database), "victim_attempt": 1, "urgent_id": submit(database)}
    database.write(lambda session: session.execute(insert(Preemption), {**request, "requested_at": _MOMENT}))
    submit(database, after=(submit(database),))
    delivery_id = webhook_test(database, webhook(database))
    given_up = update(WebhookDelivery).where(WebhookDelivery.id == delivery_id).values(dead_at=_MOMENT)
    database.write(lambda session: session.execute(given_up))
    for constraint, statement in _BAD_UPDATES:
        assert constraint in _refusal(database, text(statement)), statement


def test_a_change_of_state_outside_the_lifecycle_is_refused(database: Database) -> None:
    jobs_by_state = one_of_each_state(database)
    # all columns have values that the new state needs, so that no CHECK fails
    rows = {state: _row(database, job_id) for state, job_id in jobs_by_state.items()}
    for source, target in product(JobState, JobState):
        values = {name: value for name, value in rows[target].items() if name != "id"}
        statement = update(Job).where(Job.id == jobs_by_state[source]).values(values)
        if (source, target) in TRANSITIONS or source == target:
            with database.engine.connect() as connection:  # never committed
                connection.execute(statement)
        else:
            assert "a job cannot" in _refusal(database, statement), (source, target)


def test_only_name_tags_and_version_of_a_finished_job_can_change(database: Database) -> None:
    others = {str: "other", int: 77, float: 0.77, bool: True, UUID: uuid7()}
    edits = {"name", "tags", "version"}
    columns = [column for column in Job.__table__.columns if column.name not in edits | {"id"}]
    for finished in (succeeded(database)[0], failed(database), cancelled(database)):
        change = update(Job).where(Job.id == finished)
        for column in columns:
            other = others.get(column.type.python_type, {"other": 0.77})
            other = _MOMENT if column.name.endswith("_at") else other
            refusal = _refusal(database, change.values({column.name: other}))
            assert "a job cannot change" in refusal, column
        edit = change.values(name="other", tags=["other"], version=Job.version + 1)
        database.write(lambda session, edit=edit: session.execute(edit))  # type: ignore[misc]


@pytest.mark.parametrize("second", sorted(TERMINAL))
def test_a_job_cannot_have_a_second_terminal_event(database: Database, second: JobState) -> None:
    job_id = failed(database)
    event = {"job_id": job_id, "seq": 100, "at": _MOMENT, "attempt": 1, "data": {}}
    refusal = _refusal(database, insert(JobEvent), {**event, "type": second})
    assert "uq_job_events_terminal" in refusal or "UNIQUE constraint failed: job_events.job_id" in refusal
    other = {**event, "type": EventType.CANCEL_REQUESTED}
    database.write(lambda session: session.execute(insert(JobEvent), other))


def test_an_event_of_a_job_that_does_not_exist_is_refused(database: Database) -> None:
    event = {"seq": 1, "at": _MOMENT, "attempt": 0, "data": {}, "type": EventType.SUBMITTED}
    assert "FOREIGN KEY" in _refusal(database, insert(JobEvent), {**event, "job_id": uuid7()}).upper()


def test_a_time_without_a_time_zone_is_refused(database: Database) -> None:
    naive = literal(_MOMENT.replace(tzinfo=None), UtcDateTime())
    with pytest.raises(StatementError, match="has no time zone"):
        database.read(lambda session: session.scalar(select(naive)))


def test_times_are_read_back_in_utc_with_microseconds(database: Database) -> None:
    job_id = submit(database)
    elsewhere = _MOMENT.astimezone(timezone(timedelta(hours=5, minutes=45)))
    values = {"created_at": elsewhere, "started_at": None}
    row = _row(database, set_columns(database, job_id, **values))
    assert (row["created_at"], row["created_at"].utcoffset()) == (_MOMENT, timedelta(0))
    assert row["started_at"] is None


@ON_SQLITE
def test_an_id_is_16_bytes_on_sqlite_also_one_that_a_trigger_draws(database: Database) -> None:
    webhook(database)
    job_id = cancelled(database)
    stored = text(
        "SELECT jobs.id, typeof(deliveries.id), length(deliveries.id), deliveries.job_id = jobs.id "
        "FROM jobs, webhook_deliveries AS deliveries"
    )
    row = database.read(lambda session: session.execute(stored).one())
    assert tuple(row) == (job_id.bytes, "blob", 16, 1)
