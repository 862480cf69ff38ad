"""Datasets: their list, samples of their test images, and any of their images by index."""

from random import Random
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from api.deps import COMMA_SEPARATED, IfNoneMatch, ServicesDep
from api.http.auth import READ
from api.http.files import documented_file, file_response
from api.http.problems import documented
from api.prediction.mnist_images import png, samples
from shared.datasets import catalog
from shared.datasets.catalog import Dataset
from shared.errors import DatasetNotFound, DataUnavailable, ImageNotFound
from shared.schemas import Datasets, DatasetSamples, DatasetSummary, Split

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], dependencies=[READ])

_MAX_IMAGES = 100
_PNG = "image/png"

Name = Annotated[str, Path(description="The dataset's name, such as `mnist`.", examples=["digits"])]


_Index = Annotated[int, Field(ge=0, le=2**31 - 1)]
Indices = Annotated[
    list[_Index],
    COMMA_SEPARATED,
    Query(
        min_length=1,
        max_length=_MAX_IMAGES,
        description="Rows of images among those of the split, from 0, separated by commas.",
        examples=[[0, 1]],
    ),
]


@router.get("", responses=documented())
def list_datasets(services: ServicesDep) -> Datasets:
    """List the datasets that jobs may use, with their classes, sizes, and default numbers of images."""
    settings = services.settings
    return Datasets(
        data=tuple(
            DatasetSummary(
                **{
                    field: getattr(info, field)
                    for field in DatasetSummary.model_fields
                    if hasattr(info, field)
                },
                is_cached=catalog.is_cached(info.name, settings),
            )
            for info in (catalog.describe(name, settings) for name in catalog.dataset_names(settings))
        )
    )


@router.get("/{name}/samples", responses=documented(DatasetNotFound, DataUnavailable))
def get_samples(
    services: ServicesDep,
    name: Name,
    count: Annotated[int, Query(ge=1, le=200)] = 20,
    seed: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="Selects the same images each time.")
    ] = None,
) -> DatasetSamples:
    """Get random test images with their labels."""
    return draw(catalog.cached(name, services.settings), count, Random(seed))


@router.get(
    "/{name}/images",
    response_class=Response,
    responses={
        **documented(DatasetNotFound, ImageNotFound, DataUnavailable),
        **documented_file("The images, one below the other", _PNG),
    },
)
def get_images(
    services: ServicesDep,
    name: Name,
    indices: Indices,
    split: Split = Split.TEST,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Get up to 100 images as one grey PNG, 28 pixels wide, one below the other."""
    dataset = catalog.cached(name, services.settings)
    images, _ = dataset.split(split)
    if max(indices) >= len(images):
        raise ImageNotFound(
            f"there is no image {max(indices):,}: the split `{split}` of {name!r} has {len(images):,} images"
        )
    return file_response(png(images[indices]), if_none_match, media_type=_PNG)


def draw(dataset: Dataset, count: int, rng: Random) -> DatasetSamples:
    """Return `count` distinct test images, or all if there are fewer, in random order."""
    rows = rng.sample(range(len(dataset.test_labels)), min(count, len(dataset.test_labels)))
    return DatasetSamples(dataset=dataset.info.name, data=samples(dataset, Split.TEST, rows))
