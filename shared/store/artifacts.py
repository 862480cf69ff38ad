"""Reads of the files that jobs have made."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from shared import schemas
from shared.db.postgresql import BINARY
from shared.db.tables import Artifact
from shared.errors import ArtifactNotFound
from shared.formats.results import MODEL
from shared.store import job_queries


def of_job(session: Session, job_id: UUID) -> tuple[schemas.Artifact, ...]:
    """Return the descriptions of a job's files, sorted by name, without their content.

    Raises:
        JobNotFound: there is no such job.
    """
    files = select(Artifact).where(Artifact.job_id == job_id).options(defer(Artifact.content))
    found = tuple(map(schemas.Artifact.model_validate, session.scalars(files.order_by(Artifact.name))))
    if not found:
        job_queries.state(session, job_id)
    return found


def of_model(session: Session, model_id: UUID) -> tuple[schemas.Artifact, ...]:
    """Return the descriptions of a model's files, sorted by name, without their content."""
    return tuple(artifact for artifact in of_job(session, model_id) if artifact.role == MODEL)


def find(session: Session, job_id: UUID, name: str) -> schemas.Artifact:
    """Return the description of a job's file, without its content.

    Raises:
        JobNotFound: there is no such job.
        ArtifactNotFound: the job has no file of this name; the message lists the files that it has.
    """
    files = {artifact.name: artifact for artifact in of_job(session, job_id)}
    if name not in files:
        listed = f"its files are {', '.join(files)}" if files else "it has no files"
        raise ArtifactNotFound(f"job {job_id} has no file {name}: {listed}")
    return files[name]


def content(session: Session, job_id: UUID, name: str) -> bytes:
    """Return the content of a job's file.

    Raises:
        JobNotFound, ArtifactNotFound: as in `find`.
    """
    chosen = select(Artifact.content).where(Artifact.job_id == job_id, Artifact.name == name)
    found = session.scalar(chosen.execution_options(**{BINARY: True}))
    if found is None:
        find(session, job_id, name)  # raises JobNotFound or ArtifactNotFound
        raise AssertionError(f"file {name} of job {job_id} was absent a moment ago")
    return found
