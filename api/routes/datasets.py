"""Datasets: samples of their test images."""

from random import Random
from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.deps import ServicesDep
from api.http.auth import READ
from api.http.problems import documented
from api.prediction.mnist_images import data_url
from shared.datasets import catalog
from shared.datasets.catalog import Dataset
from shared.errors import DatasetNotFound, DataUnavailable
from shared.schemas import DatasetSamples, Sample

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], dependencies=[READ])


@router.get("/{name}/samples", responses=documented(DatasetNotFound, DataUnavailable))
def get_samples(
    services: ServicesDep,
    name: Annotated[str, Path(description="The dataset's name, such as `mnist`.", examples=["digits"])],
    count: Annotated[int, Query(ge=1, le=200)] = 20,
    seed: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="Selects the same images each time.")
    ] = None,
) -> DatasetSamples:
    """Get random test images with their labels."""
    return draw(catalog.cached(name, services.settings), count, Random(seed))


def draw(dataset: Dataset, count: int, rng: Random) -> DatasetSamples:
    """Return `count` distinct test images, or all if there are fewer, in random order."""
    labels, images, names = dataset.test_labels.tolist(), dataset.test_images, dataset.info.class_names
    indices = rng.sample(range(len(labels)), min(count, len(labels)))
    return DatasetSamples(
        dataset=dataset.info.name,
        data=tuple(
            Sample(index=index, label=labels[index], name=names[labels[index]], image=data_url(images[index]))
            for index in indices
        ),
    )
