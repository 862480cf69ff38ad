"""The schema of release 0.1.0, whose rows `trainshed migrate` moves: what that release's 21 migrations made.

It is theirs byte for byte, which a test of `tests/upgrade` compares. So the text is not as one would write it
anew: SQLite keeps a table's text as it was typed, with what later versions had added on the line of the last
column before, and quotes around the name of a table that was renamed. (Of `job_events` they wrote two
constraints in either order, by chance.) PostgreSQL gets the same text with the names of its own types.

The triggers are not here.
"""

import re

from sqlalchemy import Connection

# a line that is indented twice goes on the one before
_SCHEMA = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)

CREATE TABLE "api_keys" (
    id CHAR(32) NOT NULL,
    name VARCHAR(200) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    created_at DATETIME NOT NULL,
    expires_at DATETIME,
    revoked_at DATETIME,
    scope VARCHAR(16) NOT NULL, weight DOUBLE DEFAULT 1 NOT NULL, max_running INTEGER,
    CONSTRAINT pk_api_keys PRIMARY KEY (id),
    CONSTRAINT uq_api_keys_sha256 UNIQUE (sha256),
    CONSTRAINT ck_api_keys_scope CHECK (scope IN ('admin', 'read', 'submit'))
)
CREATE INDEX ix_api_keys_max_running ON api_keys (max_running) WHERE max_running IS NOT NULL

CREATE TABLE jobs (
    id CHAR(32) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    state VARCHAR(16) NOT NULL,
    phase VARCHAR(32),
    spec JSON NOT NULL,
    name VARCHAR(200),
    tags JSON NOT NULL,
    queue VARCHAR(64) NOT NULL,
    priority VARCHAR(16) NOT NULL,
    retry_of CHAR(32),
    model_id CHAR(32),
    version INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    max_runtime_s DOUBLE,
    lease_owner VARCHAR(200),
    lease_expires_at DATETIME,
    scheduled_at DATETIME NOT NULL,
    created_at DATETIME NOT NULL,
    started_at DATETIME,
    finished_at DATETIME,
    cancel_requested_at DATETIME,
    next_epoch INTEGER NOT NULL,
    loss DOUBLE,
    accuracy DOUBLE,
    val_loss DOUBLE,
    val_accuracy DOUBLE,
    evaluation_accuracy DOUBLE,
    error_code VARCHAR(64),
    error_message TEXT, sweep_id CHAR(32), duration_s DOUBLE, request_id VARCHAR(128),
        place DOUBLE DEFAULT 0 NOT NULL, share VARCHAR(128), api_key_id CHAR(32), earliest_at DATETIME,
        waits_for INTEGER DEFAULT 0 NOT NULL, has_dependents BOOLEAN DEFAULT 0 NOT NULL,
    CONSTRAINT pk_jobs PRIMARY KEY (id),
    CONSTRAINT ck_jobs_failed_has_error CHECK ((state = 'failed') = (error_code IS NOT NULL)),
    CONSTRAINT ck_jobs_running_has_lease CHECK ((state = 'running') = (lease_expires_at IS NOT NULL)),
    CONSTRAINT ck_jobs_running_has_owner CHECK ((state = 'running') = (lease_owner IS NOT NULL)),
    CONSTRAINT ck_jobs_terminal_has_finished_at CHECK ((state IN ('cancelled', 'failed',
        'succeeded')) = (finished_at IS NOT NULL)),
    CONSTRAINT ck_jobs_kind CHECK (kind IN ('train', 'evaluate')),
    CONSTRAINT ck_jobs_phase CHECK (phase IS NULL OR phase IN ('building_model', 'evaluating',
        'loading_data', 'saving', 'training')),
    CONSTRAINT ck_jobs_priority CHECK (priority IN ('high', 'low', 'normal', 'urgent')),
    CONSTRAINT ck_jobs_succeeded_has_model CHECK (state <> 'succeeded' OR model_id IS NOT NULL),
    CONSTRAINT ck_jobs_phase_while_running CHECK (state = 'running' OR phase IS NULL),
    CONSTRAINT ck_jobs_state CHECK (state IN ('cancelled', 'failed', 'queued', 'running', 'succeeded')),
    CONSTRAINT ck_jobs_ran_has_attempt CHECK (state IN ('queued', 'cancelled') OR attempt > 0),
    CONSTRAINT ck_jobs_failure_counts CHECK (failures >= 0 AND crashes >= 0 AND max_attempts > 0),
    CONSTRAINT ck_jobs_counts CHECK (version > 0 AND attempt >= 0 AND next_epoch >= 0),
    CONSTRAINT fk_jobs_retry_of FOREIGN KEY(retry_of) REFERENCES jobs (id) ON DELETE SET NULL
)
CREATE INDEX ix_jobs_by_created_at ON jobs (created_at, id, state, kind, queue, name)
CREATE INDEX ix_jobs_by_duration_s ON jobs (duration_s, id, state, kind, queue, name)
CREATE INDEX ix_jobs_by_evaluation_accuracy ON jobs (evaluation_accuracy, id, state, kind, queue, name)
CREATE INDEX ix_jobs_by_sweep ON jobs (sweep_id, state, evaluation_accuracy, val_accuracy, val_loss,
        accuracy, loss, id) WHERE sweep_id IS NOT NULL
CREATE INDEX ix_jobs_by_val_accuracy ON jobs (val_accuracy, id, state, kind, queue, name)
CREATE INDEX ix_jobs_finished_at ON jobs (finished_at, state) WHERE finished_at IS NOT NULL
CREATE INDEX ix_jobs_lease ON jobs (lease_expires_at) WHERE state = 'running'
CREATE INDEX ix_jobs_model_id ON jobs (model_id)
CREATE INDEX ix_jobs_next ON jobs (queue, place, id, scheduled_at) WHERE state = 'queued'
CREATE INDEX ix_jobs_next_of_key ON jobs (queue, api_key_id, place, id, scheduled_at) WHERE state = 'queued'
CREATE INDEX ix_jobs_owner ON jobs (lease_owner) WHERE state = 'running'
CREATE INDEX ix_jobs_retry_of ON jobs (retry_of)
CREATE INDEX ix_jobs_share ON jobs (state, queue, share, created_at) WHERE state IN ('queued', 'running')
CREATE INDEX ix_jobs_started_at ON jobs (started_at) WHERE started_at IS NOT NULL
CREATE INDEX ix_jobs_state_queue_priority ON jobs (state, queue, priority, place, id, scheduled_at,
        created_at)

CREATE TABLE attempts (
    job_id CHAR(32) NOT NULL,
    number INTEGER NOT NULL,
    worker VARCHAR(200) NOT NULL,
    device VARCHAR(200) NOT NULL,
    versions JSON NOT NULL,
    started_at DATETIME NOT NULL,
    finished_at DATETIME,
    outcome VARCHAR(16),
    error_code VARCHAR(64),
    error_message TEXT,
    CONSTRAINT pk_attempts PRIMARY KEY (job_id, number),
    CONSTRAINT ck_attempts_finished_has_outcome CHECK ((outcome IS NULL) = (finished_at IS NULL)),
    CONSTRAINT fk_attempts_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)
CREATE INDEX ix_attempts_unsuccessful ON attempts (finished_at, outcome) WHERE outcome IN ('failed', 'lost')
CREATE INDEX ix_attempts_worker_job_id ON attempts (worker, job_id)
CREATE INDEX ix_attempts_worker_started_at ON attempts (worker, started_at, job_id, number)

CREATE TABLE checkpoints (
    job_id CHAR(32) NOT NULL,
    next_epoch INTEGER NOT NULL,
    state BLOB NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    CONSTRAINT pk_checkpoints PRIMARY KEY (job_id),
    CONSTRAINT fk_checkpoints_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)

CREATE TABLE "epochs" (
    job_id CHAR(32) NOT NULL,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    loss DOUBLE NOT NULL,
    accuracy DOUBLE NOT NULL,
    val_loss DOUBLE NOT NULL,
    val_accuracy DOUBLE NOT NULL,
    seconds DOUBLE NOT NULL,
    batch_loss BLOB NOT NULL,
    batch_accuracy BLOB NOT NULL,
    CONSTRAINT pk_epochs PRIMARY KEY (job_id, epoch),
    CONSTRAINT fk_epochs_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)

CREATE TABLE epoch_weights (
    job_id CHAR(32) NOT NULL,
    epoch INTEGER NOT NULL,
    content BLOB NOT NULL,
    CONSTRAINT pk_epoch_weights PRIMARY KEY (job_id, epoch),
    CONSTRAINT ck_epoch_weights_floats
        CHECK (length(content) > 0 AND length(content) / 4 * 4 = length(content)),
    CONSTRAINT fk_epoch_weights_job_id_epoch FOREIGN KEY(job_id, epoch) REFERENCES epochs (job_id, epoch)
        ON DELETE CASCADE
)

CREATE TABLE idempotency_keys (
    "key" VARCHAR(255) NOT NULL,
    request_sha256 VARCHAR(64) NOT NULL,
    job_id CHAR(32) NOT NULL,
    created_at DATETIME NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY ("key"),
    CONSTRAINT fk_idempotency_keys_job_id FOREIGN KEY(job_id) REFERENCES jobs (id)
        ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
)
CREATE INDEX ix_idempotency_keys_job_id ON idempotency_keys (job_id)

CREATE TABLE job_dependencies (
    job_id CHAR(32) NOT NULL,
    after_id CHAR(32) NOT NULL,
    CONSTRAINT pk_job_dependencies PRIMARY KEY (job_id, after_id),
    CONSTRAINT ck_job_dependencies_others CHECK (job_id <> after_id),
    CONSTRAINT fk_job_dependencies_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE,
    CONSTRAINT fk_job_dependencies_after_id FOREIGN KEY(after_id) REFERENCES jobs (id) ON DELETE CASCADE
)
CREATE INDEX ix_job_dependencies_after_id ON job_dependencies (after_id)

CREATE TABLE "job_events" (
    job_id CHAR(32) NOT NULL,
    seq INTEGER NOT NULL,
    at DATETIME NOT NULL,
    type VARCHAR(32) NOT NULL,
    attempt INTEGER NOT NULL,
    data JSON NOT NULL,
    position BIGINT,
    CONSTRAINT pk_job_events PRIMARY KEY (job_id, seq),
    CONSTRAINT ck_job_events_type CHECK (type IN ('cancel_requested', 'cancelled', 'claimed', 'edited',
        'epochs_recorded', 'failed', 'lease_expired', 'phase_entered', 'released', 'retry_scheduled',
        'submitted', 'succeeded')),
    CONSTRAINT fk_job_events_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)
CREATE INDEX ix_job_events_position_job_id_seq ON job_events (position, job_id, seq)
CREATE UNIQUE INDEX uq_job_events_terminal ON job_events (job_id) WHERE type IN ('cancelled', 'failed',
        'succeeded')

CREATE TABLE job_logs (
    job_id CHAR(32) NOT NULL,
    attempt INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at DATETIME NOT NULL,
    level VARCHAR(16) NOT NULL,
    message TEXT NOT NULL,
    fields JSON NOT NULL,
    CONSTRAINT pk_job_logs PRIMARY KEY (job_id, attempt, number),
    CONSTRAINT fk_job_logs_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)

CREATE TABLE job_tags (
    job_id CHAR(32) NOT NULL,
    tag VARCHAR(64) NOT NULL,
    CONSTRAINT pk_job_tags PRIMARY KEY (job_id, tag),
    CONSTRAINT fk_job_tags_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
)
CREATE INDEX ix_job_tags_tag_job_id ON job_tags (tag, job_id)

CREATE TABLE models (
    id CHAR(32) NOT NULL,
    job_id CHAR(32) NOT NULL,
    dataset VARCHAR(64) NOT NULL,
    spec JSON NOT NULL,
    parameters INTEGER NOT NULL,
    layers JSON NOT NULL,
    weights_sha256 VARCHAR(64) NOT NULL,
    accuracy DOUBLE NOT NULL,
    created_at DATETIME NOT NULL, description TEXT, deleted_at DATETIME,
    CONSTRAINT pk_models PRIMARY KEY (id),
    CONSTRAINT fk_models_job_id FOREIGN KEY(job_id) REFERENCES jobs (id),
    CONSTRAINT uq_models_job_id UNIQUE (job_id)
)
CREATE INDEX ix_models_created_at_id ON models (created_at, id)

CREATE TABLE evaluations (
    job_id CHAR(32) NOT NULL,
    model_id CHAR(32) NOT NULL,
    dataset VARCHAR(64) NOT NULL,
    size INTEGER NOT NULL,
    threshold DOUBLE,
    loss DOUBLE NOT NULL,
    accuracy DOUBLE NOT NULL,
    rejected INTEGER NOT NULL, predictions BLOB CONSTRAINT ck_evaluations_predictions
        CHECK (length(predictions) = 45 * size),
    CONSTRAINT pk_evaluations PRIMARY KEY (job_id),
    CONSTRAINT fk_evaluations_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE,
    CONSTRAINT fk_evaluations_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE
)
CREATE INDEX ix_evaluations_model_id ON evaluations (model_id)

CREATE TABLE class_results (
    job_id CHAR(32) NOT NULL,
    label INTEGER NOT NULL,
    name VARCHAR(64) NOT NULL,
    count INTEGER NOT NULL,
    correct INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    accuracy DOUBLE,
    precision DOUBLE,
    recall DOUBLE,
    f1 DOUBLE,
    CONSTRAINT pk_class_results PRIMARY KEY (job_id, label),
    CONSTRAINT ck_class_results_counts CHECK (correct + rejected <= count),
    CONSTRAINT fk_class_results_job_id FOREIGN KEY(job_id) REFERENCES evaluations (job_id) ON DELETE CASCADE
)

CREATE TABLE confusion (
    job_id CHAR(32) NOT NULL,
    label INTEGER NOT NULL,
    predicted INTEGER NOT NULL,
    count INTEGER NOT NULL,
    CONSTRAINT pk_confusion PRIMARY KEY (job_id, label, predicted),
    CONSTRAINT fk_confusion_job_id FOREIGN KEY(job_id) REFERENCES evaluations (job_id) ON DELETE CASCADE
)

CREATE TABLE misclassified (
    job_id CHAR(32) NOT NULL,
    "index" INTEGER NOT NULL,
    label INTEGER NOT NULL,
    predicted INTEGER NOT NULL,
    probability DOUBLE NOT NULL,
    CONSTRAINT pk_misclassified PRIMARY KEY (job_id, "index"),
    CONSTRAINT fk_misclassified_job_id FOREIGN KEY(job_id) REFERENCES evaluations (job_id) ON DELETE CASCADE
)

CREATE TABLE model_aliases (
    alias VARCHAR(64) NOT NULL,
    model_id CHAR(32) NOT NULL,
    CONSTRAINT pk_model_aliases PRIMARY KEY (alias),
    CONSTRAINT fk_model_aliases_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE,
    CONSTRAINT uq_model_aliases_model_id UNIQUE (model_id)
)

CREATE TABLE model_files (
    model_id CHAR(32) NOT NULL,
    format VARCHAR(16) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    content BLOB NOT NULL,
    CONSTRAINT pk_model_files PRIMARY KEY (model_id, format),
    CONSTRAINT ck_model_files_format CHECK (format IN ('keras', 'onnx')),
    CONSTRAINT fk_model_files_model_id FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE
)

CREATE TABLE paused_queues (
    name VARCHAR(64) NOT NULL,
    paused_at DATETIME NOT NULL,
    CONSTRAINT pk_paused_queues PRIMARY KEY (name)
)

CREATE TABLE queue_clocks (
    queue VARCHAR(64) NOT NULL,
    priority VARCHAR(16) NOT NULL,
    place DOUBLE NOT NULL,
    served DOUBLE NOT NULL,
    last DOUBLE NOT NULL,
    CONSTRAINT pk_queue_clocks PRIMARY KEY (queue, priority)
)

CREATE TABLE queue_limits (
    queue VARCHAR(64) NOT NULL,
    max_running INTEGER NOT NULL,
    CONSTRAINT pk_queue_limits PRIMARY KEY (queue),
    CONSTRAINT ck_queue_limits_max_running CHECK (max_running > 0)
)

CREATE TABLE share_clocks (
    queue VARCHAR(64) NOT NULL,
    priority VARCHAR(16) NOT NULL,
    share VARCHAR(128) NOT NULL,
    next DOUBLE NOT NULL,
    CONSTRAINT pk_share_clocks PRIMARY KEY (queue, priority, share)
)

CREATE TABLE sweeps (
    id CHAR(32) NOT NULL,
    name VARCHAR(200),
    request JSON NOT NULL,
    created_at DATETIME NOT NULL,
    CONSTRAINT pk_sweeps PRIMARY KEY (id)
)
CREATE INDEX ix_sweeps_created_at_id ON sweeps (created_at, id)

CREATE TABLE version_floor (
    id INTEGER NOT NULL,
    version VARCHAR(32) NOT NULL,
    CONSTRAINT pk_version_floor PRIMARY KEY (id),
    CONSTRAINT ck_version_floor_one_row CHECK (id = 1)
)

CREATE TABLE webhooks (
    id CHAR(32) NOT NULL,
    url TEXT NOT NULL,
    secret VARCHAR(128) NOT NULL,
    description VARCHAR(200),
    queue VARCHAR(64),
    kind VARCHAR(16),
    states JSON NOT NULL,
    created_at DATETIME NOT NULL,
    disabled_at DATETIME,
    CONSTRAINT pk_webhooks PRIMARY KEY (id),
    CONSTRAINT ck_webhooks_kind CHECK (kind IS NULL OR kind IN ('evaluate', 'train'))
)

CREATE TABLE webhook_deliveries (
    id CHAR(32) NOT NULL,
    webhook_id CHAR(32) NOT NULL,
    job_id CHAR(32),
    state VARCHAR(16),
    name VARCHAR(200),
    kind VARCHAR(16),
    queue VARCHAR(64),
    tags JSON,
    model_id CHAR(32),
    accuracy DOUBLE,
    evaluation_accuracy DOUBLE,
    error_code VARCHAR(64),
    error_message TEXT,
    duration_s DOUBLE,
    created_at DATETIME NOT NULL,
    next_at DATETIME NOT NULL,
    attempts INTEGER NOT NULL,
    delivered_at DATETIME,
    dead_at DATETIME,
    last_error TEXT,
    CONSTRAINT pk_webhook_deliveries PRIMARY KEY (id),
    CONSTRAINT ck_webhook_deliveries_of_job CHECK ((job_id IS NULL) = (state IS NULL)),
    CONSTRAINT ck_webhook_deliveries_one_end CHECK (delivered_at IS NULL OR dead_at IS NULL),
    CONSTRAINT ck_webhook_deliveries_attempts CHECK (attempts >= 0),
    CONSTRAINT fk_webhook_deliveries_webhook_id FOREIGN KEY(webhook_id) REFERENCES webhooks (id)
        ON DELETE CASCADE
)
CREATE INDEX ix_webhook_deliveries_dead ON webhook_deliveries (webhook_id, dead_at)
        WHERE dead_at IS NOT NULL
CREATE INDEX ix_webhook_deliveries_delivered ON webhook_deliveries (webhook_id, delivered_at)
        WHERE delivered_at IS NOT NULL
CREATE INDEX ix_webhook_deliveries_pending ON webhook_deliveries (webhook_id, next_at)
        WHERE delivered_at IS NULL AND dead_at IS NULL
CREATE INDEX ix_webhook_deliveries_webhook_id_created_at_id ON webhook_deliveries (webhook_id,
        created_at, id)

CREATE TABLE workers (
    id VARCHAR(200) NOT NULL,
    host VARCHAR(200) NOT NULL,
    pid INTEGER NOT NULL,
    queues JSON NOT NULL,
    devices JSON NOT NULL,
    slots INTEGER NOT NULL,
    versions JSON NOT NULL,
    state VARCHAR(16) NOT NULL,
    started_at DATETIME NOT NULL,
    heartbeat_at DATETIME NOT NULL, lost_after_s DOUBLE, memory_bytes BIGINT,
    CONSTRAINT pk_workers PRIMARY KEY (id),
    CONSTRAINT ck_workers_state CHECK (state IN ('online', 'draining', 'stopped'))
)
CREATE INDEX ix_workers_state_heartbeat_at ON workers (state, heartbeat_at, lost_after_s)

CREATE TABLE yields (
    victim_id CHAR(32) NOT NULL,
    victim_attempt INTEGER NOT NULL,
    urgent_id CHAR(32) NOT NULL,
    requested_at DATETIME NOT NULL,
    yielded_at DATETIME,
    CONSTRAINT pk_yields PRIMARY KEY (victim_id, victim_attempt),
    CONSTRAINT ck_yields_others CHECK (victim_id <> urgent_id),
    CONSTRAINT fk_yields_victim_id FOREIGN KEY(victim_id) REFERENCES jobs (id) ON DELETE CASCADE,
    CONSTRAINT fk_yields_urgent_id FOREIGN KEY(urgent_id) REFERENCES jobs (id) ON DELETE CASCADE
)
CREATE INDEX ix_yields_urgent_id ON yields (urgent_id)
"""
_POSTGRESQL = {
    r"\bCHAR\(32\)": "UUID",
    r"\bDATETIME\b": "TIMESTAMP WITH TIME ZONE",
    r"\bDOUBLE\b": "DOUBLE PRECISION",
    r"BOOLEAN DEFAULT 0": "BOOLEAN DEFAULT false",
    # PostgreSQL 18 names this constraint, too: by the name that the column had before
    r"(batch_\w+) BLOB NOT NULL": r"\1 BYTEA CONSTRAINT epochs_new_\1_not_null NOT NULL",
    r"\bBLOB\b": "BYTEA",
}


def create(connection: Connection) -> None:
    """Give a database without any table those of 0.1.0, with its schema's version and its version floor."""
    schema = _SCHEMA.strip().replace("\n        ", " ")
    if connection.dialect.name == "postgresql":
        for pattern, replacement in _POSTGRESQL.items():
            schema = re.sub(pattern, replacement, schema)
        connection.exec_driver_sql("CREATE SEQUENCE job_event_positions")
    else:
        schema = schema.replace(",\n    ", ", \n\t").replace("\n    ", "\n\t")
    for statement in re.split(r"\s+(?=CREATE )", schema):
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("INSERT INTO alembic_version (version_num) VALUES ('0021')")
    connection.exec_driver_sql("INSERT INTO version_floor (id, version) VALUES (1, '0.1.0')")
