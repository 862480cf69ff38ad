"""The tab `input` of a job's page: examples of its dataset, and the images that it trained on."""

from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any

from api.routes import datasets
from api.services import Services
from api.web.tabs import pictures
from shared.datasets import catalog
from shared.errors import DatasetNotFound, DataUnavailable
from shared.schemas import JobDetail, TrainSpec
from shared.store import models

_EXAMPLES = 20  # as the codelab shows
_MAX_DRAW = 2**31 - 1


def read(services: Services, job: JobDetail, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the template's variables.

    Args:
        query: of the page's address: the number `draw` chooses other examples than the job's seed does.
    """
    name = _dataset(services, job)
    drawn = _number(query.get("draw"), job.spec.seed)
    facts: dict[str, Any] = {
        "dataset": name,
        "info": None,
        "missing": None,
        "examples": (),
        "next_draw": drawn,
    }
    try:
        facts["info"] = catalog.describe(name, services.settings)
        dataset = catalog.cached(name, services.settings)
    except (DatasetNotFound, DataUnavailable) as error:
        return {**facts, "missing": str(error)}
    examples = datasets.draw(dataset, _EXAMPLES, Random(drawn)).data
    return {
        **facts,
        "examples": examples,
        "strip": pictures.strip(name, [example.index for example in examples]),
        "next_draw": (drawn + 1) % _MAX_DRAW,
    }


def _dataset(services: Services, job: JobDetail) -> str:
    """Return the name of the dataset that a job uses; an evaluation's is that of its model."""
    if isinstance(job.spec, TrainSpec):
        return job.spec.dataset
    detail = partial(models.detail, reference=job.spec.model_id)
    return services.database.read(detail).dataset


def _number(text: str | None, default: int) -> int:
    is_number = text is not None and text.isascii() and text.isdecimal() and len(text) <= 10
    return min(int(text or 0), _MAX_DRAW) if is_number else default
