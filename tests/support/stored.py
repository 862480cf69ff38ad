"""What is stored, for tests to compare: jobs, as rows and as the API shows them, and what belongs to them.

`all_rows` returns every row of every table."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Connection, Table, delete, func, insert, select, update
from sqlalchemy.orm import Session

from shared import schemas
from shared.db.engine import Database
from shared.db.tables import IS_COMPLETE as IS_COMPLETE
from shared.db.tables import Attempt as Attempt
from shared.db.tables import (
    Base,
    Epoch,
    EpochWeights,
    IdempotencyKey,
    JobLog,
    JobValue,
    Result,
    Webhook,
    WebhookDelivery,
    Worker,
)
from shared.db.tables import Job as Job
from shared.db.tables import JobEvent as JobEvent
from shared.formats.classification import Classified
from shared.formats.epochs import EpochMetrics
from shared.formats.predictions import PredictedImages
from shared.lifecycle import JobState
from shared.schemas import DeliveryState, JobListQuery
from shared.store import (
    api_keys,
    artifacts,
    evaluations,
    job_lists,
    job_logs,
    job_queries,
    models,
    queues,
    results,
    webhooks,
    workers,
)


def count_jobs(database: Database) -> int:
    return database.read(lambda session: session.scalar(select(func.count()).select_from(Job))) or 0


def job(database: Database, job_id: UUID) -> Job:
    return database.read(lambda session: session.get_one(Job, job_id))


def job_ids(database: Database, *states: JobState) -> list[UUID]:
    """The ids of all jobs, or of those in some states."""
    rows = select(Job.id).where(Job.state.in_(states or list(JobState)))
    return database.read(lambda session: list(session.scalars(rows)))


def delete_unstarted(database: Database) -> list[UUID]:
    """Delete the jobs that have never run, however many there are; return their ids."""
    idle = delete(Job).where(Job.state != JobState.RUNNING, Job.attempt == 0).returning(Job.id)
    return database.write(lambda session: list(session.scalars(idle)))


def lock(connection: Connection, job_id: UUID) -> None:
    """Lock a job's row until the end of the transaction."""
    connection.execute(select(Job.id).where(Job.id == job_id).with_for_update())


def set_columns(database: Database, job_id: UUID, **values: Any) -> UUID:
    """Overwrite columns of a job's row; return the job's id."""
    database.write(lambda session: session.execute(update(Job).where(Job.id == job_id).values(**values)))
    return job_id


def add_values(database: Database, job_id: UUID, **values: float) -> UUID:
    """Store last values of a job as the trigger does when it ends; return the job's id."""
    of_job = job(database, job_id)
    copied = {column: getattr(of_job, column) for column in ("state", "kind", "queue")}
    rows = [{"job_id": job_id, "name": name, "value": value, **copied} for name, value in values.items()]
    database.write(lambda session: session.execute(insert(JobValue), rows))
    return job_id


def values(database: Database, job_id: UUID) -> dict[str, float]:
    """The last values of an ended job, as the index has them."""
    of_job = select(JobValue.name, JobValue.value).where(JobValue.job_id == job_id)
    return database.read(lambda session: dict(session.execute(of_job).all()))


def state(database: Database, job_id: UUID) -> JobState:
    return database.read(lambda session: job_queries.state(session, job_id))


def detail(database: Database, job_id: UUID) -> schemas.JobDetail:
    """A job as the API shows it."""
    return database.read(lambda session: job_queries.get(session, job_id))


def summary(database: Database, job_id: UUID) -> schemas.Job:
    """A job as the API lists it."""
    return database.read(lambda session: job_queries.summary(session, job_id))


def listed(database: Database, query: JobListQuery | None = None) -> list[schemas.Job]:
    """The first jobs of a list, by default of all jobs, newest first."""
    page = database.read(lambda session: job_lists.page(session, query or JobListQuery(), limit=10))
    return [job for _, job in page]


def log_lines(database: Database, job_id: UUID) -> Sequence[JobLog]:
    return database.read(lambda session: job_logs.lines(session, job_id, limit=100))


def drop_predictions(database: Database) -> None:
    """Leave evaluations as a version stored them that kept no predictions of single images."""
    database.write(lambda session: session.execute(update(Result).values(body=None)))


def evaluation(database: Database, job_id: UUID) -> schemas.JobEvaluation:
    return database.read(lambda session: evaluations.get(session, job_id))


def model(database: Database, model_id: UUID) -> schemas.ModelDetail:
    return database.read(lambda session: models.detail(session, model_id))


def model_file(database: Database, model_id: UUID, name: str) -> bytes:
    return database.read(lambda session: artifacts.content(session, model_id, name))


def checkpoint(database: Database, job_id: UUID) -> tuple[int, bytes] | None:
    """The epoch that a job trains next, and its state before it, by its checkpoint; None without one."""
    row = database.read(lambda session: results.checkpoint(session, job_id))
    return None if row is None else (row.next_epoch, row.state)


def queue(database: Database, name: str) -> schemas.Queue:
    return database.read(lambda session: queues.get(session, name))


def worker(database: Database, worker_id: str) -> schemas.Worker:
    return database.read(lambda session: workers.get(session, worker_id))


def workers_shown(database: Database) -> list[schemas.Worker]:
    """Workers as the API lists them, last seen first."""
    return [worker for _, worker in database.read(lambda session: workers.page(session, limit=10))]


def worker_rows(database: Database) -> list[Worker]:
    return database.read(lambda session: list(session.scalars(select(Worker).order_by(Worker.id))))


def api_key(database: Database, key_id: UUID) -> schemas.ApiKey:
    keys = database.read(lambda session: api_keys.page(session, limit=100))
    return next(key for _, key in keys if key.id == key_id)


def deliveries(database: Database) -> list[WebhookDelivery]:
    return database.read(lambda session: list(session.scalars(select(WebhookDelivery))))


def delivery_states(database: Database, webhook_id: UUID) -> list[DeliveryState]:
    """The states of a webhook's deliveries, newest first."""
    page = database.read(lambda session: webhooks.deliveries(session, webhook_id, limit=10))
    return [delivery.state for _, delivery in page]


def webhook(database: Database, webhook_id: UUID) -> Webhook:
    return database.read(lambda session: session.get_one(Webhook, webhook_id))


def request_sha256(database: Database, key: str) -> str:
    """The digest of the request that was sent with an idempotency key."""
    return database.read(lambda session: session.get_one(IdempotencyKey, key)).request_sha256


def attempts(database: Database, job_id: UUID) -> list[Attempt]:
    rows = select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)
    return database.read(lambda session: list(session.scalars(rows)))


def attempt(database: Database, job_id: UUID, number: int) -> Attempt:
    return database.read(lambda session: session.get_one(Attempt, (job_id, number)))


def events(database: Database, job_id: UUID) -> list[JobEvent]:
    rows = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
    return database.read(lambda session: list(session.scalars(rows)))


def event_types(database: Database, job_id: UUID) -> list[str]:
    return [event.type for event in events(database, job_id)]


def epochs(session: Session, job_id: UUID) -> list[EpochMetrics]:
    """A job's recorded epochs, in order."""
    rows = session.scalars(select(Epoch).where(Epoch.job_id == job_id, IS_COMPLETE).order_by(Epoch.epoch))
    return [EpochMetrics(row.epoch, row.seconds, row.values or {}, row.steps) for row in rows]


def begun_epochs(database: Database, job_id: UUID) -> list[tuple[int, int, bytes]]:
    """The epoch, the attempt and the steps so far of each epoch of a job that is not complete."""
    rows = select(Epoch.epoch, Epoch.attempt, Epoch.steps).where(Epoch.job_id == job_id, ~IS_COMPLETE)
    return database.read(
        lambda session: [(row.epoch, row.attempt, row.steps) for row in session.execute(rows)]
    )


def epoch_attempts(database: Database, job_id: UUID) -> list[int]:
    """The attempt that has recorded each epoch of a job, in order."""
    numbers = select(Epoch.attempt).where(Epoch.job_id == job_id, IS_COMPLETE).order_by(Epoch.epoch)
    return database.read(lambda session: list(session.scalars(numbers)))


def weights(session: Session, job_id: UUID) -> dict[int, bytes]:
    """The weights that a job has kept, by epoch, in order."""
    rows = session.scalars(
        select(EpochWeights).where(EpochWeights.job_id == job_id).order_by(EpochWeights.epoch)
    )
    return {row.epoch: row.content for row in rows}


def all_rows(session: Session) -> dict[str, list[Any]]:
    """Every table's rows by primary key, without the events' positions, which differ from run to run."""
    return {
        table.name: list(session.execute(select(*_compared(table)).order_by(*table.primary_key)))
        for table in Base.metadata.sorted_tables
    }


def rows_by_table(session: Session) -> dict[str, int]:
    """How many rows each table has."""
    counts = ((table.name, select(func.count()).select_from(table)) for table in Base.metadata.sorted_tables)
    return {name: session.execute(count).scalar_one() for name, count in counts}


def _compared(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if column is not JobEvent.__table__.c.position]


def add_ratios(session: Session) -> None:
    """Store the ratios of classes that the stub executor of 0.1.0 has left out, as today's computes them."""
    for result in session.scalars(select(Result).where(Result.body.is_not(None))):
        images = PredictedImages.from_bytes(result.body or b"", result.size or 0)
        names = [each.name for each in result.per_class]
        for row, computed in zip(
            result.per_class, Classified(images, result.threshold).per_class(names), strict=True
        ):
            if row.recall is None:
                for name in ("accuracy", "precision", "recall", "f1"):
                    setattr(row, name, getattr(computed, name))
