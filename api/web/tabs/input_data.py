"""The tab `input` of a job's page: examples of its dataset, and the images that the job uses."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import numpy as np

from api.jobs import job_images
from api.jobs.job_images import UsedImages
from api.routes import datasets
from api.services import Services
from api.web.tabs import pictures
from api.web.tabs.pictures import Strip
from shared.datasets import catalog
from shared.datasets.catalog import Dataset
from shared.errors import DatasetNotFound, DataUnavailable
from shared.schemas import JobDetail, Part

_EXAMPLES = 20  # as many as the codelab shows
_SHOWN = 60  # images of the job that are shown
_MAX_DRAW = 2**31 - 1


@dataclass(frozen=True)
class Shown:
    """The first images that a job uses for one purpose.

    Attributes:
        total: the number of all images that the job uses for it.
        images: the index and the label of each shown image.
        counts: the number of images of each class, among all of them.
    """

    total: int
    images: list[tuple[int, int]]
    counts: list[int]
    strip: Strip


def read(services: Services, job: JobDetail, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the template's variables.

    Args:
        query: the query of the page's address. The number `draw` chooses other examples than the job's seed;
            `images` is the part of the job's images that is shown, by default the training images.
    """
    part = _part(query.get("images"))
    used = services.database.read(partial(job_images.used, job_id=job.id, part=part))
    name, drawn = used.training.dataset, _number(query.get("draw"), job.spec.seed)
    facts: dict[str, Any] = {
        "dataset": name,
        "training": used.training,
        "used_for": part,
        "parts": list(Part),
    }
    try:
        facts["info"] = catalog.describe(name, services.settings)
        dataset = catalog.cached(name, services.settings)
        shown = _shown(dataset, used)
    except (DatasetNotFound, DataUnavailable) as error:
        return {"info": None, **facts, "missing": str(error)}
    examples = datasets.draw(dataset, _EXAMPLES, Random(drawn)).data
    return {
        **facts,
        "missing": None,
        "examples": examples,
        "strip": pictures.strip(name, [example.index for example in examples]),
        "next_draw": (drawn + 1) % _MAX_DRAW,
        "shown": shown,
    }


def _shown(dataset: Dataset, used: UsedImages) -> Shown:
    rows = used.rows(dataset.info)
    _, labels = dataset.split(used.part.of_split)
    first, classes = rows[:_SHOWN], len(dataset.info.class_names)
    return Shown(
        total=used.total,
        images=list(zip(first.tolist(), labels[first].tolist(), strict=True)),
        counts=np.bincount(labels[rows], minlength=classes).tolist(),
        strip=pictures.strip(dataset.info.name, first.tolist(), used.part.of_split),
    )


def _part(text: str | None) -> Part:
    with suppress(ValueError):
        return Part(text or "")
    return Part.TRAINING


def _number(text: str | None, default: int) -> int:
    is_number = text is not None and text.isascii() and text.isdecimal() and len(text) <= 10
    return min(int(text or 0), _MAX_DRAW) if is_number else default
