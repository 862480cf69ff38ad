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


def of_job(session: Session, job_id: UUID, role: str | None = None) -> tuple[schemas.Artifact, ...]:
    """Return a job's files by name, without reading them.

    Args:
        role: only those with this role.

    Raises:
        JobNotFound: there is no such job.
    """
    files = select(Artifact).where(Artifact.job_id == job_id).options(defer(Artifact.content))
    if role is not None:
        files = files.where(Artifact.role == role)
    found = tuple(map(schemas.Artifact.model_validate, session.scalars(files.order_by(Artifact.name))))
    if not found:
        job_queries.state(session, job_id)
    return found


def of_model(session: Session, model_id: UUID) -> tuple[schemas.Artifact, ...]:
    """Return the files of a model by name, without reading them."""
    return of_job(session, model_id, MODEL)


def content(session: Session, job_id: UUID, name: str) -> bytes:
    """Return a job's file.

    Raises:
        JobNotFound: there is no such job.
        ArtifactNotFound: it has no file of this name.
    """
    chosen = select(Artifact.content).where(Artifact.job_id == job_id, Artifact.name == name)
    found = session.scalar(chosen.execution_options(**{BINARY: True}))
    if found is None:
        raise missing(session, job_id, name)
    return found


def find(session: Session, job_id: UUID, name: str) -> schemas.Artifact:
    """Return what is known of a job's file, without reading it; raises as `content` does."""
    for artifact in of_job(session, job_id):
        if artifact.name == name:
            return artifact
    raise missing(session, job_id, name)


def missing(session: Session, job_id: UUID, name: str) -> ArtifactNotFound:
    """Return the error that a job has no file of this name, which lists those that it has."""
    names = [artifact.name for artifact in of_job(session, job_id)]
    listed = f"its files are {', '.join(names)}" if names else "it has no files"
    return ArtifactNotFound(f"job {job_id} has no file {name}: {listed}")
