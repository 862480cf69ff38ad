"""Datasets."""

from random import Random
from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.deps import ServicesDep
from api.problems import documented
from api.samples import draw
from shared import datasets
from shared.errors import DataCorrupt, DatasetNotFound, DataUnavailable
from shared.schemas import DatasetSamples

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


@router.get("/{name}/samples", responses=documented(DatasetNotFound, DataCorrupt, DataUnavailable))
def get_samples(
    services: ServicesDep,
    name: Annotated[str, Path(description="The dataset's name, such as `mnist`.", examples=["digits"])],
    count: Annotated[int, Query(ge=1, le=200)] = 20,
    seed: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="The same seed, the same images.")
    ] = None,
) -> DatasetSamples:
    """Test images with their labels, others at each call unless a seed is given."""
    return draw(datasets.load(name, services.settings), count, Random(seed))
