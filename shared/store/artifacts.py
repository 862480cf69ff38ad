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
    """Return a job's files by name, without reading them.

    Raises:
        JobNotFound: there is no such job.
    """
    files = select(Artifact).where(Artifact.job_id == job_id).options(defer(Artifact.content))
    found = tuple(map(schemas.Artifact.model_validate, session.scalars(files.order_by(Artifact.name))))
    if not found:
        job_queries.state(session, job_id)
    return found


def of_model(session: Session, model_id: UUID) -> tuple[schemas.Artifact, ...]:
    """Return the files of a model by name, without reading them."""
    return tuple(artifact for artifact in of_job(session, model_id) if artifact.role == MODEL)


def find(session: Session, job_id: UUID, name: str) -> schemas.Artifact:
    """Return what is known of a job's file, without reading it.

    Raises:
        JobNotFound: there is no such job.
        ArtifactNotFound: it has no file of this name; the message lists those that it has.
    """
    files = {artifact.name: artifact for artifact in of_job(session, job_id)}
    if name not in files:
        listed = f"its files are {', '.join(files)}" if files else "it has no files"
        raise ArtifactNotFound(f"job {job_id} has no file {name}: {listed}")
    return files[name]


def content(session: Session, job_id: UUID, name: str) -> bytes:
    """Return a job's file; raises as `find` does."""
    chosen = select(Artifact.content).where(Artifact.job_id == job_id, Artifact.name == name)
    found = session.scalar(chosen.execution_options(**{BINARY: True}))
    if found is None:
        find(session, job_id, name)  # raises the reason
        raise AssertionError(f"file {name} of job {job_id} was absent a moment ago")
    return found
