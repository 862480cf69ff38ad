"""The files that jobs have made: list and download them."""

from functools import partial
from uuid import UUID

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from api.deps import IfNoneMatch, JobId, ServicesDep
from api.http.auth import READ
from api.http.files import BINARY, documented_file, file_headers, unchanged
from api.http.problems import documented
from shared.errors import ArtifactNotFound, JobNotFound
from shared.schemas import Artifact, Artifacts
from shared.store import artifacts

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[READ])


@router.get("/{job_id:id}/artifacts", responses=documented(JobNotFound))
def list_artifacts(services: ServicesDep, job_id: JobId) -> Artifacts:
    """List the files that a job has made, including the files of its model."""
    return Artifacts(data=services.database.read(partial(artifacts.of_job, job_id=job_id)))


@router.get(
    "/{job_id:id}/artifacts/{artifact}",
    response_class=Response,
    responses={**documented(JobNotFound, ArtifactNotFound), **documented_file("The file")},
)
def get_artifact(
    services: ServicesDep, job_id: JobId, artifact: str, if_none_match: IfNoneMatch = None
) -> Response:
    """Download a file that a job has made. The ETag is the SHA-256 of the file."""

    def read(session: Session) -> Response:
        file = artifacts.find(session, job_id, artifact)
        return artifact_response(session, job_id, file, if_none_match, artifact, is_lasting=True)

    return services.database.read(read)


def artifact_response(
    session: Session,
    job_id: UUID,
    file: Artifact,
    if_none_match: str | None,
    saved_as: str,
    *,
    is_lasting: bool,
) -> Response:
    """Return a response with a file of a job, as bytes of no particular type, or 304 if the client has it.

    Args:
        saved_as: the name under which a browser saves the file.
        is_lasting: whether the URL has this file for ever.
    """
    headers = file_headers(file.sha256, is_lasting=is_lasting)
    if response := unchanged(if_none_match, headers):
        return response
    headers["Content-Disposition"] = f'attachment; filename="{saved_as}"'
    return Response(artifacts.content(session, job_id, file.name), media_type=BINARY, headers=headers)
