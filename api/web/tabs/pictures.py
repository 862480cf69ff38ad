"""Pictures of a dataset's images on pages: strips that the REST API serves, or why there are none."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.datasets import catalog
from shared.errors import DatasetNotFound, DataUnavailable
from shared.schemas import Split
from shared.settings import Settings


@dataclass(frozen=True)
class Strip:
    """Some images in one PNG, one below the other.

    Attributes:
        address: the path of the PNG.
        count: number of images.
    """

    address: str
    count: int


def strip(dataset: str, indices: Sequence[int], split: Split = Split.TEST) -> Strip:
    """Return the strip of images with these indices, at most 100."""
    listed = ",".join(map(str, indices))
    return Strip(f"/v1/datasets/{dataset}/images?split={split}&indices={listed}", len(indices))


def missing(dataset: str, settings: Settings) -> str | None:
    """Return the reason why the images of a dataset cannot be shown, or None if they can."""
    try:
        catalog.cached(dataset, settings)
    except (DatasetNotFound, DataUnavailable) as error:
        return str(error)
    return None
