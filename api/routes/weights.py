"""Weights that jobs keep after their epochs."""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from sqlalchemy.orm import Session

from api.deps import IfNoneMatch, JobId, ServicesDep
from api.http.auth import READ
from api.http.files import documented_file, file_response
from api.http.problems import documented
from shared.errors import JobNotFound, WeightsNotFound
from shared.schemas import KeptWeights
from shared.store import job_queries, weights

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[READ])

_MAX_EPOCHS = 1_000

Epoch = Annotated[int, Path(ge=0, le=_MAX_EPOCHS - 1, description="The epoch, from 0.", examples=[0])]


@router.get("/{job_id:id}/weights", responses=documented(JobNotFound))
def list_weights(services: ServicesDep, job_id: JobId) -> KeptWeights:
    """List the epochs whose weights a job has kept so far: with `keep_weights`, all recorded epochs."""
    return services.database.read(lambda session: weights.kept(session, job_id))


@router.get(
    "/{job_id:id}/weights/{epoch}",
    response_class=Response,
    responses={**documented(JobNotFound, WeightsNotFound), **documented_file("The weights")},
)
def get_weights(
    services: ServicesDep, job_id: JobId, epoch: Epoch, if_none_match: IfNoneMatch = None
) -> Response:
    """Get the weights after an epoch: the arrays in the list of weights, in order, as little-endian float32.

    The layout is the same as in the `weights.bin` of a model for TensorFlow.js.
    """

    def read(session: Session) -> tuple[bytes, bool]:
        content = weights.after_epoch(session, job_id, epoch)
        return content, job_queries.final_version(session, job_id) is not None

    content, is_finished = services.database.read(read)
    return file_response(content, if_none_match, is_lasting=is_finished)
