"""The images that a job uses for training, validation and evaluation."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import JobId, ServicesDep
from api.http.auth import READ
from api.http.problems import documented
from api.jobs import job_images
from api.prediction.mnist_images import samples
from shared.datasets import catalog
from shared.errors import DatasetNotFound, DataUnavailable, JobNotFound, ModelNotFound
from shared.schemas import JobImages, Part

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[READ])


@router.get(
    "/{job_id:id}/images",
    responses=documented(JobNotFound, ModelNotFound, DatasetNotFound, DataUnavailable),
)
def get_job_images(
    services: ServicesDep,
    job_id: JobId,
    part: Annotated[Part, Query(description="What the job uses the images for.")] = Part.TRAINING,
    count: Annotated[int, Query(ge=1, le=200, description="How many of them, the first.")] = 20,
) -> JobImages:
    """Get the first images that a job uses, with their labels.

    For an evaluation job, the images of training and validation are those of its model's training.
    """
    used = services.database.read(lambda session: job_images.used(session, job_id, part))
    dataset = catalog.cached(used.training.dataset, services.settings)
    rows = used.rows(dataset.info)[:count].tolist()
    return JobImages(
        job_id=job_id,
        dataset=dataset.info.name,
        part=part,
        split=part.of_split,
        total=used.total,
        data=samples(dataset, part.of_split, rows),
    )
