"""Datasets."""

from random import Random
from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.deps import ServicesDep
from api.http.problems import documented
from api.prediction.mnist_images import data_url
from shared.datasets import catalog
from shared.datasets.catalog import Dataset
from shared.errors import DataCorrupt, DatasetNotFound, DataUnavailable
from shared.schemas import DatasetSamples, Sample

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
    return draw(catalog.load(name, services.settings), count, Random(seed))


def draw(dataset: Dataset, count: int, rng: Random) -> DatasetSamples:
    """That many different test images, or all if there are fewer, in random order."""
    rows = len(dataset.test_labels)
    indices = rng.sample(range(rows), min(count, rows))
    return DatasetSamples(dataset=dataset.info.name, data=tuple(_sample(dataset, index) for index in indices))


def _sample(dataset: Dataset, index: int) -> Sample:
    label = int(dataset.test_labels[index])
    return Sample(
        index=index,
        label=label,
        name=dataset.info.class_names[label],
        image=data_url(dataset.test_images[index]),
    )
