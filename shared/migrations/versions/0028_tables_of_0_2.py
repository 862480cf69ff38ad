"""The tables of release 0.2.0, into which `shared.db.moving` moves the rows of 0.1.0.

In 0.1.0 a model already has the id of its job.

A new database begins with these tables. Until 0.2.0 is released, `python -m tests.support.schema_text` prints
the text of `_SCHEMA`.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from alembic import op
from sqlalchemy import Text, cast, func, select

from shared.db.event_positions import SEQUENCE
from shared.db.moves import OF_JOBS, Batch, Copy, Each, Plan, statements

revision = "0028"
down_revision = None
branch_labels = None
depends_on = None

_Row = dict[str, Any]

# a line that is indented twice continues the line before it
_SCHEMA = """
CREATE TABLE api_keys (
    id UUID NOT NULL,
    name VARCHAR(200) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    scope VARCHAR(16) NOT NULL,
    weight DOUBLE PRECISION DEFAULT 1 NOT NULL,
    max_running INTEGER,
    team VARCHAR(64),
    may_urgent BOOLEAN DEFAULT false NOT NULL,
    CONSTRAINT pk_api_keys PRIMARY KEY (id),
    CONSTRAINT ck_api_keys_scope CHECK (scope IN ('admin', 'read', 'submit')),
    CONSTRAINT uq_api_keys_sha256 UNIQUE (sha256)
)
CREATE INDEX ix_api_keys_max_running ON api_keys (max_running) WHERE max_running IS NOT NULL

CREATE TABLE environments (
    sha256 BYTEA NOT NULL,
    versions JSON NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_environments PRIMARY KEY (sha256)
)

CREATE TABLE idempotency_keys (
    "key" VARCHAR(292) NOT NULL,
    request_sha256 VARCHAR(64) NOT NULL,
    job_id UUID NOT NULL,
    sweep_id UUID,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY ("key")
)
CREATE INDEX ix_idempotency_keys_job_id ON idempotency_keys (job_id)

CREATE TABLE jobs (
    id UUID NOT NULL,
    kind VARCHAR(16) NOT NULL,
    state VARCHAR(16) NOT NULL,
    phase VARCHAR(32),
    spec JSON NOT NULL,
    name VARCHAR(200),
    tags JSON NOT NULL,
    queue VARCHAR(64) NOT NULL,
    priority VARCHAR(16) NOT NULL,
    retry_of UUID,
    model_id UUID,
    sweep_id UUID,
    tenant VARCHAR(128) DEFAULT '' NOT NULL,
    api_key_id UUID,
    request_id VARCHAR(128),
    traceparent VARCHAR(55),
    version INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    lost_attempts INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    max_runtime_s DOUBLE PRECISION,
    lease_owner VARCHAR(200),
    lease_expires_at TIMESTAMP WITH TIME ZONE,
    place DOUBLE PRECISION DEFAULT 0 NOT NULL,
    head_start_s DOUBLE PRECISION DEFAULT 0 NOT NULL,
    scheduled_at TIMESTAMP WITH TIME ZONE NOT NULL,
    earliest_at TIMESTAMP WITH TIME ZONE,
    pending_predecessors INTEGER DEFAULT 0 NOT NULL,
    has_dependents BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    duration_s DOUBLE PRECISION,
    cancel_requested_at TIMESTAMP WITH TIME ZONE,
    next_epoch INTEGER NOT NULL,
    last_values JSON DEFAULT '{}' NOT NULL,
    error_code VARCHAR(64),
    error_message TEXT,
    CONSTRAINT pk_jobs PRIMARY KEY (id),
    CONSTRAINT ck_jobs_kind CHECK (kind IN ('evaluate', 'train')),
    CONSTRAINT ck_jobs_state CHECK (state IN ('cancelled', 'failed', 'queued', 'running', 'succeeded')),
    CONSTRAINT ck_jobs_phase CHECK (phase IS NULL OR phase IN ('building_model', 'evaluating',
        'loading_data', 'saving', 'training')),
    CONSTRAINT ck_jobs_priority CHECK (priority IN ('high', 'low', 'normal', 'urgent')),
    CONSTRAINT ck_jobs_terminal_has_finished_at CHECK ((state IN ('cancelled', 'failed', 'succeeded')) =
        (finished_at IS NOT NULL)),
    CONSTRAINT ck_jobs_running_has_lease CHECK ((state = 'running') = (lease_expires_at IS NOT NULL)),
    CONSTRAINT ck_jobs_running_has_owner CHECK ((state = 'running') = (lease_owner IS NOT NULL)),
    CONSTRAINT ck_jobs_phase_while_running CHECK (state = 'running' OR phase IS NULL),
    CONSTRAINT ck_jobs_failed_has_error CHECK ((state = 'failed') = (error_code IS NOT NULL)),
    CONSTRAINT ck_jobs_ran_has_attempt CHECK (state IN ('queued', 'cancelled') OR attempt > 0),
    CONSTRAINT ck_jobs_counts CHECK (version > 0 AND attempt >= 0 AND next_epoch >= 0),
    CONSTRAINT ck_jobs_failure_counts CHECK (failures >= 0 AND lost_attempts >= 0 AND max_attempts > 0)
)
 WITH (fillfactor = 80)
CREATE INDEX ix_jobs_by_created_at ON jobs (created_at, id, state, kind, queue, name)
CREATE INDEX ix_jobs_by_duration_s ON jobs (duration_s, id, state, kind, queue, name) WHERE duration_s IS
        NOT NULL
CREATE INDEX ix_jobs_by_sweep ON jobs (sweep_id, state, id) WHERE sweep_id IS NOT NULL
CREATE INDEX ix_jobs_finished_at ON jobs (finished_at, state) WHERE finished_at IS NOT NULL
CREATE INDEX ix_jobs_model_id ON jobs (model_id) WHERE model_id IS NOT NULL
CREATE INDEX ix_jobs_next ON jobs (queue, tenant, place, id, scheduled_at) WHERE state = 'queued' AND
        pending_predecessors = 0
CREATE INDEX ix_jobs_of_key ON jobs (api_key_id, state, queue, place, id, scheduled_at) WHERE state =
        'queued' OR api_key_id IS NOT NULL
CREATE INDEX ix_jobs_unfinished ON jobs (state, queue, priority, tenant, sweep_id, place, created_at) WHERE
        state IN ('queued', 'running')

CREATE TABLE queues (
    name VARCHAR(64) NOT NULL,
    paused_at TIMESTAMP WITH TIME ZONE,
    max_running INTEGER,
    CONSTRAINT pk_queues PRIMARY KEY (name),
    CONSTRAINT ck_queues_max_running CHECK (max_running > 0),
    CONSTRAINT ck_queues_says_something CHECK (paused_at IS NOT NULL OR max_running IS NOT NULL)
)

CREATE TABLE sweeps (
    id UUID NOT NULL,
    name VARCHAR(200),
    request JSON NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_sweeps PRIMARY KEY (id)
)
CREATE INDEX ix_sweeps_created_at_id ON sweeps (created_at, id)

CREATE TABLE tenants (
    queue VARCHAR(64) NOT NULL,
    name VARCHAR(128) NOT NULL,
    time_s DOUBLE PRECISION NOT NULL,
    mean_s DOUBLE PRECISION NOT NULL,
    served_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_tenants PRIMARY KEY (queue, name),
    CONSTRAINT ck_tenants_mean CHECK (mean_s >= 0)
)

CREATE TABLE version_floor (
    id INTEGER NOT NULL,
    version VARCHAR(32) NOT NULL,
    CONSTRAINT pk_version_floor PRIMARY KEY (id),
    CONSTRAINT ck_version_floor_one_row CHECK (id = 1)
)

CREATE TABLE webhooks (
    id UUID NOT NULL,
    url TEXT NOT NULL,
    secret VARCHAR(128) NOT NULL,
    description VARCHAR(200),
    queue VARCHAR(64),
    kind VARCHAR(16),
    states JSON NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    disabled_at TIMESTAMP WITH TIME ZONE,
    paused_at TIMESTAMP WITH TIME ZONE,
    previous_secret VARCHAR(128),
    previous_secret_until TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_webhooks PRIMARY KEY (id),
    CONSTRAINT ck_webhooks_kind CHECK (kind IS NULL OR kind IN ('evaluate', 'train'))
)

CREATE TABLE workers (
    id VARCHAR(200) NOT NULL,
    host VARCHAR(200) NOT NULL,
    pid INTEGER NOT NULL,
    queues JSON NOT NULL,
    devices JSON NOT NULL,
    slots INTEGER NOT NULL,
    versions JSON NOT NULL,
    boot_id VARCHAR(64),
    state VARCHAR(16) NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    heartbeat_at TIMESTAMP WITH TIME ZONE NOT NULL,
    lost_after_s DOUBLE PRECISION,
    memory_bytes BIGINT,
    CONSTRAINT pk_workers PRIMARY KEY (id),
    CONSTRAINT ck_workers_state CHECK (state IN ('draining', 'online', 'stopped'))
)
CREATE INDEX ix_workers_state_heartbeat_at ON workers (state, heartbeat_at, lost_after_s)

CREATE TABLE artifacts (
    job_id UUID NOT NULL,
    name VARCHAR(128) NOT NULL,
    role VARCHAR(16) NOT NULL,
    media_type VARCHAR(128) NOT NULL,
    size BIGINT NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    content BYTEA NOT NULL,
    CONSTRAINT pk_artifacts PRIMARY KEY (job_id, name),
    CONSTRAINT ck_artifacts_size CHECK (length(content) = size),
    CONSTRAINT fk_artifacts_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)

CREATE TABLE attempts (
    job_id UUID NOT NULL,
    number INTEGER NOT NULL,
    worker VARCHAR(200) NOT NULL,
    device VARCHAR(200) NOT NULL,
    environment BYTEA NOT NULL,
    dataset_sha256 VARCHAR(64),
    boot_id VARCHAR(64),
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    outcome VARCHAR(16),
    error_code VARCHAR(64),
    error_message TEXT,
    CONSTRAINT pk_attempts PRIMARY KEY (job_id, number),
    CONSTRAINT ck_attempts_finished_has_outcome CHECK ((outcome IS NULL) = (finished_at IS NULL)),
    CONSTRAINT fk_attempts_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)
CREATE INDEX ix_attempts_worker_started_at ON attempts (worker, started_at, job_id, number)

CREATE TABLE checkpoints (
    job_id UUID NOT NULL,
    next_epoch INTEGER NOT NULL,
    state BYTEA NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    CONSTRAINT pk_checkpoints PRIMARY KEY (job_id),
    CONSTRAINT fk_checkpoints_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)

CREATE TABLE ended_predecessors (
    job_id UUID NOT NULL,
    CONSTRAINT pk_ended_predecessors PRIMARY KEY (job_id),
    CONSTRAINT fk_ended_predecessors_job_id FOREIGN KEY(job_id) REFERENCES jobs (id)
)

CREATE TABLE epochs (
    job_id UUID NOT NULL,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    "values" JSON,
    steps BYTEA NOT NULL,
    CONSTRAINT pk_epochs PRIMARY KEY (job_id, epoch),
    CONSTRAINT fk_epochs_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)

CREATE TABLE job_dependencies (
    job_id UUID NOT NULL,
    after_id UUID NOT NULL,
    depth INTEGER,
    CONSTRAINT pk_job_dependencies PRIMARY KEY (job_id, after_id),
    CONSTRAINT ck_job_dependencies_others CHECK (job_id <> after_id),
    CONSTRAINT fk_job_dependencies_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE,
    CONSTRAINT fk_job_dependencies_after_id FOREIGN KEY(after_id) REFERENCES jobs (id) ON DELETE CASCADE
)
CREATE INDEX ix_job_dependencies_after_id ON job_dependencies (after_id)

CREATE TABLE job_events (
    job_id UUID NOT NULL,
    seq INTEGER NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    type VARCHAR(32) NOT NULL,
    attempt INTEGER NOT NULL,
    data JSON NOT NULL,
    position BIGINT,
    CONSTRAINT pk_job_events PRIMARY KEY (job_id, seq),
    CONSTRAINT ck_job_events_type CHECK (type IN ('cancel_requested', 'cancelled', 'claimed', 'edited',
        'failed', 'lease_expired', 'progress', 'released', 'retry_scheduled', 'submitted', 'succeeded')),
    CONSTRAINT fk_job_events_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)
CREATE INDEX ix_job_events_position ON job_events (position)
CREATE UNIQUE INDEX uq_job_events_terminal ON job_events (job_id) WHERE type IN ('cancelled', 'failed',
        'succeeded')

CREATE TABLE job_logs (
    job_id UUID NOT NULL,
    attempt INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    level VARCHAR(16) NOT NULL,
    message TEXT NOT NULL,
    fields JSON NOT NULL,
    CONSTRAINT pk_job_logs PRIMARY KEY (job_id, attempt, number),
    CONSTRAINT fk_job_logs_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)

CREATE TABLE job_tags (
    job_id UUID NOT NULL,
    tag VARCHAR(64) NOT NULL,
    CONSTRAINT pk_job_tags PRIMARY KEY (job_id, tag),
    CONSTRAINT fk_job_tags_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)
CREATE INDEX ix_job_tags_tag_job_id ON job_tags (tag, job_id)

CREATE TABLE job_values (
    job_id UUID NOT NULL,
    name VARCHAR(128) NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    state VARCHAR(16) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    queue VARCHAR(64) NOT NULL,
    sweep_id UUID,
    CONSTRAINT pk_job_values PRIMARY KEY (job_id, name),
    CONSTRAINT fk_job_values_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)
CREATE INDEX ix_job_values_by_sweep ON job_values (sweep_id, name, value, job_id) WHERE sweep_id IS NOT NULL
CREATE INDEX ix_job_values_by_value ON job_values (name, value, job_id, state, kind, queue)

CREATE TABLE models (
    id UUID NOT NULL,
    kind VARCHAR(16),
    layers JSON NOT NULL,
    weights_sha256 VARCHAR(64),
    description TEXT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_models PRIMARY KEY (id),
    CONSTRAINT fk_models_id FOREIGN KEY(id) REFERENCES jobs (id)
)
CREATE INDEX ix_models_created_at_id ON models (created_at, id)

CREATE TABLE preemptions (
    victim_id UUID NOT NULL,
    victim_attempt INTEGER NOT NULL,
    urgent_id UUID NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE NOT NULL,
    preempted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_preemptions PRIMARY KEY (victim_id, victim_attempt),
    CONSTRAINT ck_preemptions_others CHECK (victim_id <> urgent_id),
    CONSTRAINT fk_preemptions_victim_id FOREIGN KEY(victim_id) REFERENCES jobs (id) ON DELETE CASCADE,
    CONSTRAINT fk_preemptions_urgent_id FOREIGN KEY(urgent_id) REFERENCES jobs (id) ON DELETE CASCADE
)
CREATE INDEX ix_preemptions_urgent_id ON preemptions (urgent_id)

CREATE TABLE results (
    job_id UUID NOT NULL,
    type VARCHAR(32) NOT NULL,
    dataset VARCHAR(64),
    size INTEGER,
    threshold DOUBLE PRECISION,
    "values" JSON NOT NULL,
    body BYTEA,
    CONSTRAINT pk_results PRIMARY KEY (job_id),
    CONSTRAINT fk_results_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)

CREATE TABLE webhook_deliveries (
    id UUID NOT NULL,
    webhook_id UUID NOT NULL,
    job_id UUID,
    state VARCHAR(16),
    name VARCHAR(200),
    kind VARCHAR(16),
    queue VARCHAR(64),
    tags JSON,
    model_id UUID,
    last_values JSON,
    error_code VARCHAR(64),
    error_message TEXT,
    duration_s DOUBLE PRECISION,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    next_at TIMESTAMP WITH TIME ZONE NOT NULL,
    attempts INTEGER NOT NULL,
    delivered_at TIMESTAMP WITH TIME ZONE,
    dead_at TIMESTAMP WITH TIME ZONE,
    last_error TEXT,
    CONSTRAINT pk_webhook_deliveries PRIMARY KEY (id),
    CONSTRAINT ck_webhook_deliveries_of_job CHECK ((job_id IS NULL) = (state IS NULL)),
    CONSTRAINT ck_webhook_deliveries_one_end CHECK (delivered_at IS NULL OR dead_at IS NULL),
    CONSTRAINT ck_webhook_deliveries_attempts CHECK (attempts >= 0),
    CONSTRAINT fk_webhook_deliveries_webhook_id FOREIGN KEY(webhook_id) REFERENCES webhooks (id) ON DELETE
        CASCADE
)
CREATE INDEX ix_webhook_deliveries_dead ON webhook_deliveries (webhook_id, dead_at) WHERE dead_at IS NOT
        NULL
CREATE INDEX ix_webhook_deliveries_delivered ON webhook_deliveries (webhook_id, delivered_at) WHERE
        delivered_at IS NOT NULL
CREATE INDEX ix_webhook_deliveries_pending ON webhook_deliveries (webhook_id, next_at) WHERE delivered_at IS
        NULL AND dead_at IS NULL
CREATE INDEX ix_webhook_deliveries_webhook_id_created_at_id ON webhook_deliveries (webhook_id, created_at,
        id)

CREATE TABLE class_results (
    job_id UUID NOT NULL,
    label INTEGER NOT NULL,
    name VARCHAR(64),
    count INTEGER NOT NULL,
    correct INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    accuracy DOUBLE PRECISION,
    precision DOUBLE PRECISION,
    recall DOUBLE PRECISION,
    f1 DOUBLE PRECISION,
    CONSTRAINT pk_class_results PRIMARY KEY (job_id, label),
    CONSTRAINT ck_class_results_counts CHECK (correct + rejected <= count),
    CONSTRAINT fk_class_results_job_id FOREIGN KEY(job_id) REFERENCES results (job_id) ON DELETE CASCADE
)

CREATE TABLE epoch_weights (
    job_id UUID NOT NULL,
    epoch INTEGER NOT NULL,
    content BYTEA NOT NULL,
    CONSTRAINT pk_epoch_weights PRIMARY KEY (job_id, epoch),
    CONSTRAINT fk_epoch_weights_job_id_epoch FOREIGN KEY(job_id, epoch) REFERENCES epochs (job_id, epoch) ON
        DELETE CASCADE,
    CONSTRAINT ck_epoch_weights_floats CHECK (length(content) > 0 AND length(content) / 4 * 4 =
        length(content))
)

CREATE TABLE model_aliases (
    alias VARCHAR(64) NOT NULL,
    model_id UUID NOT NULL,
    CONSTRAINT pk_model_aliases PRIMARY KEY (alias),
    CONSTRAINT uq_model_aliases_model_id UNIQUE (model_id),
    CONSTRAINT fk_model_aliases_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE
)
"""
# each table comes before those that it refers to
_OLD = (
    *("epoch_weights", "epochs", "checkpoints", "job_logs", "job_events", "job_tags", "job_dependencies"),
    *("idempotency_keys", "yields", "attempts", "class_results", "confusion", "misclassified"),
    *("evaluations", "model_aliases", "model_files", "models", "jobs", "sweeps", "webhook_deliveries"),
    *("webhooks", "api_keys", "workers", "paused_queues", "queue_limits", "queue_clocks", "share_clocks"),
)
_JOBS = "id > :after AND id <= :upto"
_METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")
_STEP_NAMES = json.dumps(["loss", "accuracy"]).encode().ljust(24)
_HEAD_STARTS_S = {"urgent": 86_400.0, "high": 3_600.0, "low": -3_600.0}  # of 0.2.0's default settings
_CHANGED = ("phase_entered", "epochs_recorded", "released")  # types of events whose data changes
_COPIED = ("state", "kind", "queue", "sweep_id")  # columns that are copied from a job to its values
_NEW_NAMES = {
    **{"share": "tenant", "crashes": "lost_attempts", "waits_for": "pending_predecessors"},
    "yielded_to": "preempted_by",
}


def _queues(batch: Batch) -> None:
    batch.execute(
        """
        INSERT INTO new_queues (name, paused_at, max_running)
        SELECT named.name, paused.paused_at, limited.max_running
        FROM (SELECT name FROM old_paused_queues UNION SELECT queue FROM old_queue_limits) AS named
        LEFT JOIN old_paused_queues AS paused ON paused.name = named.name
        LEFT JOIN old_queue_limits AS limited ON limited.queue = named.name
        """
    )


def _environments(batch: Batch) -> None:
    old = batch.old("attempts")
    versions = cast(old.c.versions, Text)
    first_seen: dict[bytes, dict[str, Any]] = {}
    for each, at in batch.connection.execute(select(versions, func.min(old.c.started_at)).group_by(versions)):
        environment = _without(json.loads(each), "dataset_sha256")
        key = _hash(environment)
        seen_at = min(at, first_seen[key]["first_seen_at"]) if key in first_seen else at
        first_seen[key] = {"sha256": key, "versions": environment, "first_seen_at": seen_at}
    batch.insert("environments", first_seen.values())


def _jobs(batch: Batch) -> None:
    losses = {row["job_id"]: row["loss"] for row in batch.rows("evaluations", columns=("job_id", "loss"))}
    rows, values = [], []
    for row in batch.rows("jobs", _JOBS):
        last = _present(row, (*_METRICS, "evaluation_accuracy"))
        if row["id"] in losses:
            last["evaluation_loss"] = losses[row["id"]]
        kept = _renamed(_without(row, *_METRICS, "evaluation_accuracy"))
        head_start_s = _HEAD_STARTS_S.get(row["priority"], 0.0)
        rows.append(kept | {"last_values": last, "tenant": _tenant(row), "head_start_s": head_start_s})
        if row["finished_at"] is not None:
            of_job = {"job_id": row["id"], **{name: row[name] for name in _COPIED}}
            values += [{**of_job, "name": name, "value": value} for name, value in last.items()]
    batch.insert("jobs", rows)
    batch.insert("job_values", values)


def _tenant(row: Mapping[str, Any]) -> str:
    """Return the tenant of a job; in 0.1.0 each sweep took turns of its own."""
    share = row["share"] or ""
    if not share.startswith("sweep "):
        return share
    return f"key {row['api_key_id']}" if row["api_key_id"] else ""


def _artifacts(batch: Batch) -> None:
    batch.execute(
        """
        INSERT INTO new_artifacts (job_id, name, role, media_type, size, sha256, content)
        SELECT as_id(model_id), 'model.' || format, 'model', 'application/octet-stream', length(content),
            sha256, content
        FROM old_model_files WHERE model_id > :after AND model_id <= :upto
        """
    )


def _delivery(row: _Row) -> _Row:
    names = ("accuracy", "evaluation_accuracy")
    return {**_without(row, *names), "last_values": _present(row, names) or None}


def _attempt(row: _Row) -> _Row:
    environment = dict(row["versions"])
    dataset = {"dataset_sha256": environment.pop("dataset_sha256", None)}
    return {**_without(row, "versions"), "environment": _hash(environment), **dataset}


def _event(row: _Row) -> _Row:
    at, data = _written(row["at"]), row["data"]
    if row["type"] == "released":
        return {**row, "data": _renamed(data)}
    phases = [{"phase": data["phase"], "at": at}] if "phase" in data else []
    epochs = [
        {"epoch": each["epoch"], "seconds": each["seconds"], "values": _present(each, _METRICS), "at": at}
        for each in data.get("epochs", ())
    ]
    return {**row, "type": "progress", "data": {"phases": phases, "epochs": epochs}}


def _epoch(row: _Row) -> _Row:
    steps = struct.pack("<II", len(row["batch_loss"]) // 8, len(_STEP_NAMES)) + _STEP_NAMES
    steps += row["batch_loss"] + row["batch_accuracy"]
    kept = _without(row, *_METRICS, "batch_loss", "batch_accuracy")
    return {**kept, "values": _present(row, _METRICS), "steps": steps}


def _model(row: _Row) -> _Row:
    kept = _without(row, "job_id", "dataset", "spec", "parameters", "accuracy")
    return {**kept, "kind": None if row["deleted_at"] else row["spec"]["model"]}


def _result(row: _Row) -> _Row:
    values = _present(row, ("loss", "accuracy"))
    kept = _without(row, "model_id", "loss", "accuracy", "rejected", "predictions")
    return {**kept, "type": "classification", "values": values, "body": row["predictions"]}


def _present(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    return {name: row[name] for name in names if row[name] is not None}


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {_NEW_NAMES.get(name, name): value for name, value in row.items()}


def _hash(environment: Mapping[str, str]) -> bytes:
    return sha256(json.dumps(environment, sort_keys=True).encode()).digest()


def _written(at: datetime) -> str:
    in_utc = at if at.tzinfo is None else at.astimezone(UTC)
    return f"{in_utc:%Y-%m-%dT%H:%M:%S.%fZ}"


_WHOLE = ("sweeps", "idempotency_keys", "webhooks", "workers", "model_aliases")
_OF_JOBS = ("job_dependencies", "job_tags", "epoch_weights", "checkpoints", "class_results", "job_logs")
PLAN = Plan(
    version=revision,
    floor="0.2.0",
    schema=_SCHEMA,
    old=_OLD,
    whole=(
        *(Copy(table, where="") for table in _WHOLE),
        Copy("api_keys", where="", values={"may_urgent": "scope = 'admin'"}),
        Each("webhook_deliveries", _delivery, where="true"),
        *(_queues, _environments),
    ),
    of_jobs=(
        *(_jobs, Each("attempts", _attempt), Each("epochs", _epoch), Each("models", _model), _artifacts),
        Each("evaluations", _result, new="results"),
        Each("job_events", _event, where=f"{OF_JOBS} AND type IN {_CHANGED}"),
        Copy("job_events", where=f"{OF_JOBS} AND type NOT IN {_CHANGED}"),
        *map(Copy, _OF_JOBS),
        Copy(
            "yields",
            where="victim_id > :after AND victim_id <= :upto",
            values={"preempted_at": "yielded_at"},
            new="preemptions",
        ),
    ),
)


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"CREATE SEQUENCE {SEQUENCE}")
    for statement in statements(_SCHEMA, connection.dialect.name):
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"INSERT INTO version_floor (id, version) VALUES (1, '{PLAN.floor}')")
