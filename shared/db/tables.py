"""The tables. Their constraints say what can never be, whoever writes; `shared.migrations` creates them.

Only `shared.store.transitions` changes a job's state; only `shared.store.results` writes what an attempt
produced.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    Uuid,
    text,
)
from sqlalchemy import Sequence as SqlSequence
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from shared.db.event_positions import SEQUENCE, NextPosition
from shared.lifecycle import TERMINAL, EventType, JobState, Phase


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, always aware and in UTC, also on SQLite, which keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive moment, and store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a moment needs a time zone: {value}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the moment its time zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Doubles(TypeDecorator[list[float]]):
    """Numbers as the bytes of little-endian doubles: exact, and a tenth of the time of JSON to read."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Sequence[float] | None, dialect: Dialect) -> bytes | None:
        """Store eight bytes a number."""
        return None if value is None else np.asarray(value, "<f8").tobytes()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> list[float] | None:
        """Give the numbers back; who wants an array reads the bytes (`shared.store.metrics`)."""
        return None if value is None else np.frombuffer(value, "<f8").tolist()


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        datetime: UtcDateTime(),
        UUID: Uuid(),
        float: Double(),
        dict[str, Any]: JSON(),
        dict[str, str]: JSON(),
        list[str]: JSON(),
        list[float]: Doubles(),
        list[dict[str, Any]]: JSON(),
    }


SqlSequence(SEQUENCE, metadata=Base.metadata)  # what positions are drawn from; SQLite has no sequences


def _one_of(column: str, values: type[JobState] | type[Phase] | frozenset[JobState] | tuple[str, ...]) -> str:
    listed = ", ".join(sorted(f"'{value}'" for value in values))
    return f"{column} IN ({listed})"


_TERMINAL = _one_of("state", TERMINAL)


class Job(Base):
    """What a user asked for, and how far it has come."""

    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7: ids sort by the time of their making
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    phase: Mapped[str | None] = mapped_column(String(32))  # while running
    spec: Mapped[dict[str, Any]]  # TrainSpec or EvaluateSpec, in full
    name: Mapped[str | None] = mapped_column(String(200))
    tags: Mapped[list[str]]
    queue: Mapped[str] = mapped_column(String(64))
    priority: Mapped[str] = mapped_column(String(16))
    retry_of: Mapped[UUID | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    model_id: Mapped[UUID | None]  # trained or evaluated; models point back here, so no foreign key
    sweep_id: Mapped[UUID | None]  # which it is one of; SQLite cannot add a foreign key to a table

    request_id: Mapped[str | None] = mapped_column(String(128))  # of the API's request that made it

    version: Mapped[int]  # 1 at first, +1 with every event: it is the event's seq, and the ETag
    attempt: Mapped[int]  # the fencing token: 0 before the first claim, +1 with each
    failures: Mapped[int]  # attempts that ended with an error
    crashes: Mapped[int]  # attempts whose lease expired
    max_attempts: Mapped[int]  # failures that end the job
    max_runtime_s: Mapped[float | None]

    lease_owner: Mapped[str | None] = mapped_column(String(200))  # while running
    lease_expires_at: Mapped[datetime | None]  # while running
    scheduled_at: Mapped[datetime]  # not to be claimed before
    dispatched_at: Mapped[datetime | None]  # when its id was last given to the broker; None: to be sent
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]  # of the first attempt
    finished_at: Mapped[datetime | None]  # once terminal
    duration_s: Mapped[float | None]  # from started_at to finished_at, once terminal; so lists sort by it
    cancel_requested_at: Mapped[datetime | None]

    next_epoch: Mapped[int]  # epochs that are recorded; where the next attempt goes on
    loss: Mapped[float | None]  # the last recorded epoch's, so that lists need no join; so the next three
    accuracy: Mapped[float | None]
    val_loss: Mapped[float | None]
    val_accuracy: Mapped[float | None]
    evaluation_accuracy: Mapped[float | None]

    error_code: Mapped[str | None] = mapped_column(String(64))  # once failed
    error_message: Mapped[str | None] = mapped_column(Text)

    attempts: Mapped[list["Attempt"]] = relationship(order_by="Attempt.number", viewonly=True)

    __table_args__ = (
        CheckConstraint("kind IN ('train', 'evaluate')", name="kind"),
        CheckConstraint(_one_of("state", JobState), name="state"),
        CheckConstraint(f"phase IS NULL OR {_one_of('phase', Phase)}", name="phase"),
        CheckConstraint(_one_of("priority", ("high", "normal", "low")), name="priority"),
        CheckConstraint(f"({_TERMINAL}) = (finished_at IS NOT NULL)", name="terminal_has_finished_at"),
        CheckConstraint("(state = 'running') = (lease_expires_at IS NOT NULL)", name="running_has_lease"),
        CheckConstraint("(state = 'running') = (lease_owner IS NOT NULL)", name="running_has_owner"),
        CheckConstraint("state = 'running' OR phase IS NULL", name="phase_while_running"),
        CheckConstraint("(state = 'failed') = (error_code IS NOT NULL)", name="failed_has_error"),
        CheckConstraint("state <> 'succeeded' OR model_id IS NOT NULL", name="succeeded_has_model"),
        CheckConstraint("state IN ('queued', 'cancelled') OR attempt > 0", name="ran_has_attempt"),
        CheckConstraint("version > 0 AND attempt >= 0 AND next_epoch >= 0", name="counts"),
        CheckConstraint("failures >= 0 AND crashes >= 0 AND max_attempts > 0", name="failure_counts"),
        # one for each order of a list, with what filters look at: a list reads no row that it does not show
        *(
            Index(f"ix_jobs_by_{key}", key, "id", "state", "kind", "queue", "name")
            for key in ("created_at", "duration_s", "val_accuracy", "evaluation_accuracy")
        ),
        Index(
            "ix_jobs_state_queue_priority", "state", "queue", "priority", "created_at", "id", "scheduled_at"
        ),
        # what has happened lately
        *(
            Index(
                f"ix_jobs_{moment}",
                moment,
                sqlite_where=text(f"{moment} IS NOT NULL"),
                postgresql_where=text(f"{moment} IS NOT NULL"),
            )
            for moment in ("started_at", "finished_at")
        ),
        Index("ix_jobs_retry_of", "retry_of"),
        Index("ix_jobs_model_id", "model_id"),
        # with what sweeps are compared by: a list of them counts thousands of jobs, and shows the best ones
        Index(
            "ix_jobs_by_sweep",
            "sweep_id",
            "state",
            "evaluation_accuracy",
            "val_accuracy",
            "val_loss",
            "accuracy",
            "loss",
            "id",
            sqlite_where=text("sweep_id IS NOT NULL"),
            postgresql_where=text("sweep_id IS NOT NULL"),
        ),
        Index(
            "ix_jobs_lease",
            "lease_expires_at",
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
        Index(
            "ix_jobs_due",
            "dispatched_at",
            "scheduled_at",
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
    )


class Attempt(Base):
    """One try to run a job, by one worker."""

    __tablename__ = "attempts"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str] = mapped_column(String(200))
    device: Mapped[str] = mapped_column(String(200))
    versions: Mapped[dict[str, str]]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name="finished_has_outcome"),
        Index("ix_attempts_worker_job_id", "worker", "job_id"),
    )


class JobTag(Base):
    """One of a job's tags once more, where it is found by."""

    __tablename__ = "job_tags"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(64), primary_key=True)

    __table_args__ = (Index("ix_job_tags_tag_job_id", "tag", "job_id"),)


class PausedQueue(Base):
    """A queue whose jobs nobody may claim now."""

    __tablename__ = "paused_queues"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    paused_at: Mapped[datetime]


class JobEvent(Base):
    """A dated fact about a job. Rows are only ever added."""

    __tablename__ = "job_events"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)  # the job's version that this event made
    at: Mapped[datetime]
    type: Mapped[str] = mapped_column(String(32))
    attempt: Mapped[int]
    data: Mapped[dict[str, Any]]
    # among all jobs' events; NULL: older than positions are
    position: Mapped[int | None] = mapped_column(BigInteger, default=NextPosition())

    __table_args__ = (
        CheckConstraint(_one_of("type", tuple(EventType)), name="type"),
        Index("ix_job_events_position_job_id_seq", "position", "job_id", "seq"),
        # a job ends once: the database's own word for it
        Index(
            "uq_job_events_terminal",
            "job_id",
            unique=True,
            sqlite_where=text(_one_of("type", TERMINAL)),
            postgresql_where=text(_one_of("type", TERMINAL)),
        ),
    )


class Epoch(Base):
    """A recorded epoch of a training job."""

    __tablename__ = "epochs"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)  # from 0
    attempt: Mapped[int]  # who recorded it
    loss: Mapped[float]
    accuracy: Mapped[float]
    val_loss: Mapped[float]
    val_accuracy: Mapped[float]
    seconds: Mapped[float]
    batch_loss: Mapped[list[float]]
    batch_accuracy: Mapped[list[float]]


class Checkpoint(Base):
    """Where a training job goes on from. Replaced in the transaction that records its epoch."""

    __tablename__ = "checkpoints"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    next_epoch: Mapped[int]
    state: Mapped[bytes] = mapped_column(LargeBinary)
    sha256: Mapped[str] = mapped_column(String(64))


class Model(Base):
    """A trained model."""

    __tablename__ = "models"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), unique=True)
    dataset: Mapped[str] = mapped_column(String(64))
    spec: Mapped[dict[str, Any]]  # the TrainSpec
    parameters: Mapped[int]
    layers: Mapped[list[dict[str, Any]]]
    weights_sha256: Mapped[str] = mapped_column(String(64))
    accuracy: Mapped[float]
    description: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]  # its files are gone; the row stays, for evaluations point to it

    alias: Mapped["ModelAlias | None"] = relationship(viewonly=True)

    __table_args__ = (Index("ix_models_created_at_id", "created_at", "id"),)


class ModelAlias(Base):
    """A name that people give to one model, and later to another."""

    __tablename__ = "model_aliases"

    alias: Mapped[str] = mapped_column(String(64), primary_key=True)
    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), unique=True)


class ModelFile(Base):
    """A model in one of the forms in which it can be downloaded."""

    __tablename__ = "model_files"

    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), primary_key=True)
    format: Mapped[str] = mapped_column(String(16), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    content: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (CheckConstraint("format IN ('keras', 'onnx')", name="format"),)


class Evaluation(Base):
    """One job's measurement of one model."""

    __tablename__ = "evaluations"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    dataset: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    threshold: Mapped[float | None]
    loss: Mapped[float]
    accuracy: Mapped[float]
    rejected: Mapped[int]

    per_class: Mapped[list["ClassResult"]] = relationship(
        order_by="ClassResult.label", cascade="all, delete-orphan"
    )
    confusion: Mapped[list["Confusion"]] = relationship(
        order_by="Confusion.label, Confusion.predicted", cascade="all, delete-orphan"
    )
    misclassified: Mapped[list["Misclassified"]] = relationship(
        order_by="Misclassified.index", cascade="all, delete-orphan"
    )


def _evaluation_key() -> Mapped[UUID]:
    return mapped_column(ForeignKey("evaluations.job_id", ondelete="CASCADE"), primary_key=True)


class ClassResult(Base):
    """How one class was recognised in one evaluation."""

    __tablename__ = "class_results"

    job_id: Mapped[UUID] = _evaluation_key()
    label: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    count: Mapped[int]
    correct: Mapped[int]
    rejected: Mapped[int]
    accuracy: Mapped[float | None]  # None where there is nothing to divide by; so the next three
    precision: Mapped[float | None]
    recall: Mapped[float | None]
    f1: Mapped[float | None]

    __table_args__ = (CheckConstraint("correct + rejected <= count", name="counts"),)


class Confusion(Base):
    """How many images of one class were taken for another in one evaluation."""

    __tablename__ = "confusion"

    job_id: Mapped[UUID] = _evaluation_key()
    label: Mapped[int] = mapped_column(primary_key=True)
    predicted: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[int]


class Misclassified(Base):
    """One test image that one evaluation got wrong."""

    __tablename__ = "misclassified"

    job_id: Mapped[UUID] = _evaluation_key()
    index: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[int]
    predicted: Mapped[int]
    probability: Mapped[float]


class Sweep(Base):
    """Jobs that differ in some parameters, submitted together; they name it as their `sweep_id`."""

    __tablename__ = "sweeps"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(200))
    request: Mapped[dict[str, Any]]  # the SweepCreate, as it came
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_sweeps_created_at_id", "created_at", "id"),)


class JobLog(Base):
    """A line that an attempt logged. Rows are only ever added, each by the process that runs the attempt."""

    __tablename__ = "job_logs"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)  # from 1 in each attempt
    at: Mapped[datetime]
    level: Mapped[str] = mapped_column(String(16))
    message: Mapped[str] = mapped_column(Text)
    fields: Mapped[dict[str, Any]]


class Worker(Base):
    """A worker process, as it last described itself."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    queues: Mapped[list[str]]
    devices: Mapped[list[str]]
    slots: Mapped[int]
    versions: Mapped[dict[str, str]]
    state: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    lost_after_s: Mapped[float | None]  # without a heartbeat; NULL: of a version that did not say

    __table_args__ = (CheckConstraint("state IN ('online', 'draining', 'stopped')", name="state"),)


class IdempotencyKey(Base):
    """A submit that must not be done twice."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    # checked at commit: the key is written first, since writing it decides which of two submits is the one
    job_id: Mapped[UUID] = mapped_column(
        ForeignKey("jobs.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"), index=True
    )
    created_at: Mapped[datetime]


class ApiKey(Base):
    """A credential; its secret is shown once and never stored."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
