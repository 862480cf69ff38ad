"""What the database has of a job now."""

from uuid import UUID

from sqlalchemy import select

from shared.db.engine import Database
from shared.db.tables import Attempt, Job, JobEvent


def job(database: Database, job_id: UUID) -> Job:
    return database.read(lambda session: session.get_one(Job, job_id))


def attempt(database: Database, job_id: UUID, number: int) -> Attempt:
    return database.read(lambda session: session.get_one(Attempt, (job_id, number)))


def events(database: Database, job_id: UUID) -> list[JobEvent]:
    found = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
    return database.read(lambda session: list(session.scalars(found)))


def event_types(database: Database, job_id: UUID) -> list[str]:
    return [event.type for event in events(database, job_id)]
