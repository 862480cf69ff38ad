"""The tables. Their constraints refuse invalid rows whoever writes; `shared.migrations` creates them.

Only `shared.store.transitions` changes a job's state; only `shared.store.results` writes what an attempt
produced.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    Uuid,
    and_,
    false,
    func,
    literal_column,
    select,
    text,
    type_coerce,
)
from sqlalchemy import Sequence as SqlSequence
from sqlalchemy.orm import DeclarativeBase, Mapped, column_property, foreign, mapped_column, relationship
from sqlalchemy.types import TypeDecorator, TypeEngine

from shared.db.event_positions import SEQUENCE, NextPosition
from shared.lifecycle import STORED_WORKER_STATES, TERMINAL, EventType, JobKind, JobState, Phase
from shared.schemas import Priority, Scope


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware datetime in UTC, also on SQLite, which stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; raise ValueError for a naive datetime."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the datetime has no time zone: {value}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware datetime in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Id(TypeDecorator[UUID]):
    """A UUID: PostgreSQL's own type, and 16 bytes on SQLite, which has none."""

    impl = Uuid
    cache_ok = True

    @property
    def python_type(self) -> type[UUID]:
        """The type of its values."""
        return UUID

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type of the column."""
        return dialect.type_descriptor(LargeBinary(16) if dialect.name == "sqlite" else Uuid())

    # not `process_bind_param`, beside which SQLAlchemy would copy the bytes for each value
    def bind_processor(self, dialect: Dialect) -> Callable[[UUID | None], Any] | None:
        """Return what converts a value for the driver; None: nothing does."""
        if dialect.name != "sqlite":
            return super().bind_processor(dialect)
        return lambda value: None if value is None else value.bytes

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], UUID | None] | None:
        """Return what converts a value of the driver; None: nothing does."""
        if dialect.name != "sqlite":
            return super().result_processor(dialect, coltype)
        return lambda value: None if value is None else UUID(bytes=value)


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
        UUID: Id(),
        float: Double(),
        dict[str, Any]: JSON(),
        dict[str, float | None]: JSON(),
        dict[str, str]: JSON(),
        list[str]: JSON(),
        list[dict[str, Any]]: JSON(),
    }


SqlSequence(SEQUENCE, metadata=Base.metadata)  # event positions; SQLite has no sequences


def _one_of(column: str, values: Iterable[str]) -> str:
    listed = ", ".join(sorted(f"'{value}'" for value in values))
    return f"{column} IN ({listed})"


def _partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """Return an index of the rows that meet a condition."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


_TERMINAL = _one_of("state", TERMINAL)


class Job(Base):
    """A job: what a user submitted, its state and its progress."""

    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7: sorts by creation time
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    phase: Mapped[str | None] = mapped_column(String(32))  # set while running
    spec: Mapped[dict[str, Any]]  # a complete TrainSpec or EvaluateSpec
    name: Mapped[str | None] = mapped_column(String(200))
    tags: Mapped[list[str]]
    queue: Mapped[str] = mapped_column(String(64))
    priority: Mapped[str] = mapped_column(String(16))
    retry_of: Mapped[UUID | None]  # that job may have been deleted since
    model_id: Mapped[UUID | None]  # trained or evaluated; models refer to jobs, so no foreign key
    sweep_id: Mapped[UUID | None]  # without a foreign key: SQLite cannot add one to a table

    tenant: Mapped[str] = mapped_column(String(128), server_default=text("''"))  # whose turn it takes
    api_key_id: Mapped[UUID | None]  # of the key that submitted it

    request_id: Mapped[str | None] = mapped_column(String(128))  # of the API request that submitted it
    traceparent: Mapped[str | None] = mapped_column(String(55))  # the span of its submission

    version: Mapped[int]  # starts at 1, +1 with every event: the event's seq, and the ETag
    attempt: Mapped[int]  # the fencing token: 0 before the first claim, +1 with every claim
    failures: Mapped[int]  # attempts that ended with an error
    lost_attempts: Mapped[int]  # since the last recorded epoch
    max_attempts: Mapped[int]  # the job fails when `failures` reaches it
    max_runtime_s: Mapped[float | None]

    lease_owner: Mapped[str | None] = mapped_column(String(200))  # set while running
    lease_expires_at: Mapped[datetime | None]  # set while running
    # the least of a tenant is its next: see `shared.store.places`; SQLite adds no column without a default
    place: Mapped[float] = mapped_column(server_default=text("0"))
    head_start_s: Mapped[float] = mapped_column(
        server_default=text("0")
    )  # of its priority, when it was placed
    scheduled_at: Mapped[datetime]  # cannot be claimed before
    earliest_at: Mapped[datetime | None]  # the first `scheduled_at`, if it was requested
    pending_predecessors: Mapped[int] = mapped_column(server_default=text("0"))  # they must succeed before
    has_dependents: Mapped[bool] = mapped_column(server_default=false())  # jobs that wait, or waited, for it
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]  # start of the first attempt
    finished_at: Mapped[datetime | None]  # set when terminal
    duration_s: Mapped[float | None]  # of its attempts, stored so that lists can sort by it
    cancel_requested_at: Mapped[datetime | None]

    next_epoch: Mapped[int]  # number of recorded epochs: where the next attempt resumes
    # of each metric; null: not a finite number. No index names it: `job_values` has what is in it at the end
    last_values: Mapped[dict[str, float | None]] = mapped_column(server_default=text("'{}'"))

    error_code: Mapped[str | None] = mapped_column(String(64))  # set when failed
    error_message: Mapped[str | None] = mapped_column(Text)

    attempts: Mapped[list["Attempt"]] = relationship(order_by="Attempt.number", viewonly=True)

    __table_args__ = (
        CheckConstraint(_one_of("kind", JobKind), name="kind"),
        CheckConstraint(_one_of("state", JobState), name="state"),
        CheckConstraint(f"phase IS NULL OR {_one_of('phase', Phase)}", name="phase"),
        CheckConstraint(_one_of("priority", Priority), name="priority"),
        CheckConstraint(f"({_TERMINAL}) = (finished_at IS NOT NULL)", name="terminal_has_finished_at"),
        CheckConstraint("(state = 'running') = (lease_expires_at IS NOT NULL)", name="running_has_lease"),
        CheckConstraint("(state = 'running') = (lease_owner IS NOT NULL)", name="running_has_owner"),
        CheckConstraint("state = 'running' OR phase IS NULL", name="phase_while_running"),
        CheckConstraint("(state = 'failed') = (error_code IS NOT NULL)", name="failed_has_error"),
        CheckConstraint("state IN ('queued', 'cancelled') OR attempt > 0", name="ran_has_attempt"),
        CheckConstraint("version > 0 AND attempt >= 0 AND next_epoch >= 0", name="counts"),
        CheckConstraint("failures >= 0 AND lost_attempts >= 0 AND max_attempts > 0", name="failure_counts"),
        # WHERE state = ?, ... ORDER BY created_at, id LIMIT ?: a page of a list, with most of its filters
        Index("ix_jobs_by_created_at", *("created_at", "id", "state", "kind", "queue", "name")),
        # the same ORDER BY duration_s, id: written once, at the end
        _partial_index(
            "ix_jobs_by_duration_s",
            *("duration_s", "id", "state", "kind", "queue", "name"),
            where="duration_s IS NOT NULL",
        ),
        # SELECT count(*) GROUP BY state, queue, priority; WHERE state = 'running'; the urgent jobs that wait;
        # what a tenant has waiting and running; ORDER BY place DESC LIMIT 1: its last single job
        _partial_index(
            "ix_jobs_unfinished",
            *("state", "queue", "priority", "tenant", "sweep_id", "place", "created_at"),
            where="state IN ('queued', 'running')",
        ),
        # SELECT max(tenant) WHERE queue = ? AND tenant < ?: who waits;
        # WHERE queue = ? AND tenant = ? AND place >= ? ORDER BY place, id LIMIT 1: a claim; a position
        _partial_index(
            "ix_jobs_next",
            *("queue", "tenant", "place", "id", "scheduled_at"),
            where="state = 'queued' AND pending_predecessors = 0",
        ),
        # the same AND api_key_id = ?: a claim while limits are set; WHERE api_key_id = ?: the jobs of a key
        _partial_index(
            "ix_jobs_of_key",
            *("api_key_id", "state", "queue", "place", "id", "scheduled_at"),
            where="state = 'queued' OR api_key_id IS NOT NULL",
        ),
        # WHERE finished_at > ? ORDER BY finished_at: counters, the jobs that ended last, what is to be purged
        _partial_index("ix_jobs_finished_at", "finished_at", "state", where="finished_at IS NOT NULL"),
        # WHERE model_id = ?: the evaluations of a model
        _partial_index("ix_jobs_model_id", "model_id", where="model_id IS NOT NULL"),
        # SELECT count(*) WHERE sweep_id IN (...) GROUP BY sweep_id, state: a page of sweeps
        _partial_index("ix_jobs_by_sweep", "sweep_id", "state", "id", where="sweep_id IS NOT NULL"),
        # no index has a column that a renewal or a recorded epoch changes: these are heap-only updates on
        # PostgreSQL, and write no index, as long as the page has room for the new row
        {"postgresql_with": {"fillfactor": 80}},
    )


# literals, because no partial index matches a bound parameter; SQLite uses that of unfinished jobs only for
# what says, in the index's own words, that it wants no others
_IN_QUEUE: ColumnElement[str] = literal_column("'queued'")
_IN_WORK: ColumnElement[str] = literal_column("'running'")
IS_UNFINISHED: ColumnElement[bool] = Job.state.in_([_IN_QUEUE, _IN_WORK])
"""SQL for whether a job is queued or running."""
IS_QUEUED: ColumnElement[bool] = and_(IS_UNFINISHED, Job.state == _IN_QUEUE)
"""SQL for whether a job is queued."""
IS_RUNNING: ColumnElement[bool] = and_(IS_UNFINISHED, Job.state == _IN_WORK)
"""SQL for whether a job is running."""


def is_waiting(job: type[Job] = Job) -> ColumnElement[bool]:
    """Return SQL for whether a job, perhaps of an alias of the table, is queued and waits for no other."""
    return and_(job.state == _IN_QUEUE, job.pending_predecessors == literal_column("0"))


class Environment(Base):
    """What attempts run with: the versions of Python, of libraries and of Trainshed, each combination once.

    A row is kept for ever. Attempts refer to it without a foreign key: with one, each claim of each worker
    would lock the same row on PostgreSQL, and no worker could claim in a database that was restored from a
    backup older than the worker.
    """

    __tablename__ = "environments"

    sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)  # of `shared.store.environments`
    versions: Mapped[dict[str, str]]
    first_seen_at: Mapped[datetime]


class Attempt(Base):
    """An attempt of a worker to run a job."""

    __tablename__ = "attempts"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str] = mapped_column(String(200))
    device: Mapped[str] = mapped_column(String(200))
    environment: Mapped[bytes] = mapped_column(LargeBinary)  # its hash; no foreign key: see `Environment`
    dataset_sha256: Mapped[str | None] = mapped_column(String(64))  # NULL: no dataset was loaded
    boot_id: Mapped[str | None] = mapped_column(String(64))  # of the machine's kernel; NULL: unknown
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)

    ran_with: Mapped[Environment | None] = relationship(
        primaryjoin=lambda: foreign(Attempt.environment) == Environment.sha256, lazy="joined", viewonly=True
    )

    @property
    def versions(self) -> dict[str, str]:
        """What it ran with; empty if that is unknown."""
        return {} if self.ran_with is None else self.ran_with.versions

    __table_args__ = (
        CheckConstraint("(outcome IS NULL) = (finished_at IS NULL)", name="finished_has_outcome"),
        Index("ix_attempts_worker_started_at", "worker", "started_at", "job_id", "number"),
    )


class JobValue(Base):
    """The last value of a metric of a job that has ended: the index by which jobs are sorted.

    The trigger `jobs_ended` inserts them, from the job's `last_values`. The other columns are copies of the
    job's, which change no more: for the filters of lists, and for sweeps.
    """

    __tablename__ = "job_values"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    value: Mapped[float]
    state: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(16))
    queue: Mapped[str] = mapped_column(String(64))
    sweep_id: Mapped[UUID | None]

    __table_args__ = (
        # for lists in this order, covering their filters
        Index("ix_job_values_by_value", "name", "value", "job_id", "state", "kind", "queue"),
        # the best job of a sweep
        _partial_index(
            "ix_job_values_by_sweep",
            *("sweep_id", "name", "value", "job_id"),
            where="sweep_id IS NOT NULL",
        ),
    )


class JobDependency(Base):
    """A job that starts only after another one has succeeded: see `shared.store.dependencies`."""

    __tablename__ = "job_dependencies"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    after_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    # how many jobs in a row were to end before `job_id` at most, by way of this one; NULL: an old version's
    depth: Mapped[int | None]

    __table_args__ = (
        CheckConstraint("job_id <> after_id", name="others"),
        Index("ix_job_dependencies_after_id", "after_id"),
    )


class EndedPredecessor(Base):
    """A job that has ended while jobs that wait for it do not know yet: see `shared.store.dependents`."""

    __tablename__ = "ended_predecessors"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)


class JobTag(Base):
    """The index of jobs by tag."""

    __tablename__ = "job_tags"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(64), primary_key=True)

    __table_args__ = (Index("ix_job_tags_tag_job_id", "tag", "job_id"),)


class Queue(Base):
    """A queue that is paused or limited; others have no row."""

    __tablename__ = "queues"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    paused_at: Mapped[datetime | None]  # its jobs cannot be claimed; NULL: they can
    max_running: Mapped[int | None]  # how many of its jobs run at the same time; NULL: not limited

    __table_args__ = (
        CheckConstraint("max_running > 0", name="max_running"),
        CheckConstraint("paused_at IS NOT NULL OR max_running IS NOT NULL", name="says_something"),
    )


class Preemption(Base):
    """An urgent job asks a running attempt for its slot: see `shared.store.preemption`."""

    __tablename__ = "preemptions"

    victim_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    victim_attempt: Mapped[int] = mapped_column(primary_key=True)
    urgent_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    requested_at: Mapped[datetime]
    preempted_at: Mapped[datetime | None]  # set when it has given its slot

    __table_args__ = (
        CheckConstraint("victim_id <> urgent_id", name="others"),
        Index("ix_preemptions_urgent_id", "urgent_id"),
    )


class Tenant(Base):
    """What a tenant has used of a queue: see `shared.store.tenants`. Who used nothing lately has no row."""

    __tablename__ = "tenants"

    queue: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    time_s: Mapped[float]  # virtual time: the slot-seconds that it has used, divided by its weight
    mean_s: Mapped[float]  # of its last attempts; 0: unknown
    served_at: Mapped[datetime]  # when it last got a slot, or had one

    __table_args__ = (CheckConstraint("mean_s >= 0", name="mean"),)


class JobEvent(Base):
    """An event of a job. Append-only."""

    __tablename__ = "job_events"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)  # the job's version after this event
    at: Mapped[datetime]
    type: Mapped[str] = mapped_column(String(32))
    attempt: Mapped[int]
    data: Mapped[dict[str, Any]]
    # in the order of all jobs' events; NULL: written before positions existed
    position: Mapped[int | None] = mapped_column(BigInteger, default=NextPosition())

    __table_args__ = (
        CheckConstraint(_one_of("type", EventType), name="type"),
        Index("ix_job_events_position", "position"),
        # at most one terminal event for each job
        _partial_index("uq_job_events_terminal", "job_id", where=_one_of("type", TERMINAL), unique=True),
    )


class Epoch(Base):
    """A recorded epoch of a training job, or the one that is being trained, with its steps so far."""

    __tablename__ = "epochs"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)  # from 0
    attempt: Mapped[int]  # the attempt that recorded it
    seconds: Mapped[float]  # so far, if it is not complete
    # of each metric; null: not a finite number. NULL: the epoch is not complete
    values: Mapped[dict[str, float | None] | None] = mapped_column(JSON(none_as_null=True))
    steps: Mapped[bytes] = mapped_column(LargeBinary)  # of `shared.formats.epochs`


IS_COMPLETE: ColumnElement[bool] = Epoch.values.is_not(None)
"""SQL for whether an epoch is recorded, and not only begun."""
STEP_COUNT: ColumnElement[bytes] = type_coerce(func.substr(Epoch.steps, 1, 4), LargeBinary)
"""SQL for as much of an epoch's steps as `shared.formats.epochs.count_steps` needs."""


class EpochWeights(Base):
    """The weights after an epoch of a job that keeps them: see `shared.formats.weights`."""

    __tablename__ = "epoch_weights"

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (
        ForeignKeyConstraint(["job_id", "epoch"], ["epochs.job_id", "epochs.epoch"], ondelete="CASCADE"),
        CheckConstraint("length(content) > 0 AND length(content) / 4 * 4 = length(content)", name="floats"),
    )


class Checkpoint(Base):
    """The state from which a training job resumes. Replaced in the transaction that records its epoch."""

    __tablename__ = "checkpoints"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    next_epoch: Mapped[int]
    state: Mapped[bytes] = mapped_column(LargeBinary)
    sha256: Mapped[str] = mapped_column(String(64))


class Model(Base):
    """A trained model: a handle of the artifacts of its job with the role `model`. It has its job's id."""

    __tablename__ = "models"

    id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    kind: Mapped[str | None] = mapped_column(String(16))  # a network that the API runs; NULL: another
    layers: Mapped[list[dict[str, Any]]]  # empty: unknown
    weights_sha256: Mapped[str | None] = mapped_column(String(64))
    description: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]  # without artifacts then; the row stays for its evaluations

    spec: Mapped[dict[str, Any]] = column_property(  # of its training
        select(Job.spec).where(Job.id == id).correlate_except(Job).scalar_subquery(), deferred=True
    )
    alias: Mapped["ModelAlias | None"] = relationship(viewonly=True)

    __table_args__ = (Index("ix_models_created_at_id", "created_at", "id"),)


class ModelAlias(Base):
    """A name for a model, which can be moved to another model."""

    __tablename__ = "model_aliases"

    alias: Mapped[str] = mapped_column(String(64), primary_key=True)
    model_id: Mapped[UUID] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), unique=True)


class Artifact(Base):
    """A file that a job has made."""

    __tablename__ = "artifacts"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))  # such as `model`
    media_type: Mapped[str] = mapped_column(String(128))
    size: Mapped[int] = mapped_column(BigInteger)  # so that a list of files reads none
    sha256: Mapped[str] = mapped_column(String(64))
    content: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (CheckConstraint("length(content) = size", name="size"),)


class Result(Base):
    """The results of a job, such as how well its model predicts: named values, and what its type adds."""

    __tablename__ = "results"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    type: Mapped[str] = mapped_column(String(32))
    dataset: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int | None]  # how many examples they are of
    threshold: Mapped[float | None]  # predictions with a lower probability are rejected
    values: Mapped[dict[str, float | None]]
    # a `classification`: `shared.formats.predictions`. NULL: none, or it was not kept
    body: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)

    per_class: Mapped[list["ClassResult"]] = relationship(order_by="ClassResult.label", viewonly=True)

    @property
    def loss(self) -> float | None:
        """The value of this name; None if there is none."""
        return self.values.get("loss")

    @property
    def accuracy(self) -> float | None:
        """The value of this name; None if there is none."""
        return self.values.get("accuracy")


class ClassResult(Base):
    """The results of a class of a classification."""

    __tablename__ = "class_results"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("results.job_id", ondelete="CASCADE"), primary_key=True)
    label: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(64))
    count: Mapped[int]
    correct: Mapped[int]
    rejected: Mapped[int]
    accuracy: Mapped[float | None]  # NULL, like the next three, where the divisor is 0
    precision: Mapped[float | None]
    recall: Mapped[float | None]
    f1: Mapped[float | None]

    __table_args__ = (CheckConstraint("correct + rejected <= count", name="counts"),)


class Sweep(Base):
    """A sweep: jobs that differ in some parameters and were submitted together."""

    __tablename__ = "sweeps"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(200))
    request: Mapped[dict[str, Any]]  # the SweepCreate as received
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_sweeps_created_at_id", "created_at", "id"),)


class JobLog(Base):
    """A line of an attempt's log. Append-only, written by the process that runs the attempt."""

    __tablename__ = "job_logs"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)  # from 1 in each attempt
    at: Mapped[datetime]
    level: Mapped[str] = mapped_column(String(16))
    message: Mapped[str] = mapped_column(Text)
    fields: Mapped[dict[str, Any]]


class Worker(Base):
    """A worker, as it last registered itself."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    queues: Mapped[list[str]]
    devices: Mapped[list[str]]
    slots: Mapped[int]
    versions: Mapped[dict[str, str]]
    boot_id: Mapped[str | None] = mapped_column(String(64))  # of the machine's kernel; NULL: unknown
    state: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    lost_after_s: Mapped[float | None]  # counts as lost after this long without a heartbeat; NULL: unknown
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of its processes; NULL: unknown

    __table_args__ = (
        CheckConstraint(_one_of("state", STORED_WORKER_STATES), name="state"),
        Index("ix_workers_state_heartbeat_at", "state", "heartbeat_at", "lost_after_s"),
    )


class IdempotencyKey(Base):
    """An idempotency key, as `shared.store.idempotency` stores it, and what was submitted with it."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(292), primary_key=True)  # a UUID, a space and 255 characters
    request_sha256: Mapped[str] = mapped_column(String(64))
    # without a foreign key: the key outlives its job; UUIDv7, so the purge reads the oldest first
    job_id: Mapped[UUID] = mapped_column(index=True)
    sweep_id: Mapped[UUID | None]  # whose first job that is; NULL: none, or a version before 0.2 stored it
    created_at: Mapped[datetime]


class ApiKey(Base):
    """An API key. Its secret is shown once and only its hash is stored."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    scope: Mapped[str] = mapped_column(String(16))
    weight: Mapped[float] = mapped_column(server_default=text("1"))  # that of its jobs' tenants
    max_running: Mapped[int | None]  # how many of its jobs run at the same time; NULL: not limited
    team: Mapped[str | None] = mapped_column(String(64))  # its keys change each other's jobs
    may_urgent: Mapped[bool] = mapped_column(server_default=false())  # keys of the scope `admin` always may

    __table_args__ = (
        CheckConstraint(_one_of("scope", Scope), name="scope"),
        _partial_index("ix_api_keys_max_running", "max_running", where="max_running IS NOT NULL"),
    )


class Webhook(Base):
    """An address that is told about jobs that have ended."""

    __tablename__ = "webhooks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(String(128))  # signs each delivery, so its hash would not do
    description: Mapped[str | None] = mapped_column(String(200))
    queue: Mapped[str | None] = mapped_column(String(64))  # NULL: of all queues
    kind: Mapped[str | None] = mapped_column(String(16))  # NULL: of both kinds
    states: Mapped[list[str]]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]  # when its receiver answered 410
    paused_at: Mapped[datetime | None]  # what is pending waits
    previous_secret: Mapped[str | None] = mapped_column(String(128))  # signs too, for a day
    previous_secret_until: Mapped[datetime | None]

    __table_args__ = (CheckConstraint(f"kind IS NULL OR {_one_of('kind', JobKind)}", name="kind"),)


class WebhookDelivery(Base):
    """The end of a job, to be told to a webhook: the outbox.

    The trigger `jobs_ended` inserts it in the transaction that ends the job. It is a copy, so that the job
    may be deleted before it is delivered; a test of a webhook has no job.
    """

    __tablename__ = "webhook_deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True)  # the `webhook-id` of each attempt
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    job_id: Mapped[UUID | None]
    state: Mapped[str | None] = mapped_column(String(16))
    name: Mapped[str | None] = mapped_column(String(200))
    kind: Mapped[str | None] = mapped_column(String(16))
    queue: Mapped[str | None] = mapped_column(String(64))
    tags: Mapped[list[str] | None] = mapped_column(JSON)
    model_id: Mapped[UUID | None]
    last_values: Mapped[dict[str, float | None] | None] = mapped_column(JSON(none_as_null=True))
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    duration_s: Mapped[float | None]
    created_at: Mapped[datetime]
    next_at: Mapped[datetime]  # not sent before; while it is being sent: when another process may send it
    attempts: Mapped[int]  # the number of claims: what fences their results
    delivered_at: Mapped[datetime | None]
    dead_at: Mapped[datetime | None]  # when it was given up
    last_error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("(job_id IS NULL) = (state IS NULL)", name="of_job"),
        CheckConstraint("delivered_at IS NULL OR dead_at IS NULL", name="one_end"),
        CheckConstraint("attempts >= 0", name="attempts"),
        Index("ix_webhook_deliveries_webhook_id_created_at_id", "webhook_id", "created_at", "id"),
        _partial_index(
            "ix_webhook_deliveries_pending",
            *("webhook_id", "next_at"),
            where="delivered_at IS NULL AND dead_at IS NULL",
        ),
        _partial_index(
            "ix_webhook_deliveries_delivered", "webhook_id", "delivered_at", where="delivered_at IS NOT NULL"
        ),
        _partial_index("ix_webhook_deliveries_dead", "webhook_id", "dead_at", where="dead_at IS NOT NULL"),
    )


class VersionFloor(Base):
    """The oldest version of Trainshed that may use this database: one row, which migrations raise.

    Versions of the past and of the future read it (`shared.db.floor`): neither its name nor that of its
    column `version` may change.
    """

    __tablename__ = "version_floor"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[str] = mapped_column(String(32))

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
