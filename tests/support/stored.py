"""Rows as they are stored: one job with its attempts, events and epochs, or every row of every table."""

from typing import Any
from uuid import UUID

from sqlalchemy import Column, Table, func, select, update
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Attempt, Base, Epoch, EpochWeights, Job, JobEvent
from shared.schemas import EpochMetrics


def count_jobs(database: Database) -> int:
    return database.read(lambda session: session.scalar(select(func.count()).select_from(Job))) or 0


def job(database: Database, job_id: UUID) -> Job:
    return database.read(lambda session: session.get_one(Job, job_id))


def set_columns(database: Database, job_id: UUID, **values: Any) -> UUID:
    """Overwrite columns of a job's row; return the job's id."""
    database.write(lambda session: session.execute(update(Job).where(Job.id == job_id).values(**values)))
    return job_id


def attempt(database: Database, job_id: UUID, number: int) -> Attempt:
    return database.read(lambda session: session.get_one(Attempt, (job_id, number)))


def events(database: Database, job_id: UUID) -> list[JobEvent]:
    rows = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
    return database.read(lambda session: list(session.scalars(rows)))


def event_types(database: Database, job_id: UUID) -> list[str]:
    return [event.type for event in events(database, job_id)]


def epochs(session: Session, job_id: UUID) -> list[EpochMetrics]:
    """A job's recorded epochs, in order."""
    rows = session.scalars(select(Epoch).where(Epoch.job_id == job_id).order_by(Epoch.epoch))
    return [EpochMetrics.model_validate(row) for row in rows]


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


def _compared(table: Table) -> list[Column[Any]]:
    return [column for column in table.columns if column is not JobEvent.__table__.c.position]
