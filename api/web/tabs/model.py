"""The tab `model` of a job's page: the model that a job has trained or evaluates, and its layers."""

from collections.abc import Mapping
from typing import Any

from api.prediction.layer_table import layer_table
from api.services import Services
from shared.errors import ModelNotFound
from shared.lifecycle import JobState
from shared.schemas import JobDetail, TrainSpec
from shared.store import models


def read(services: Services, job: JobDetail, _query: Mapping[str, str]) -> dict[str, Any]:
    """Return the template's variables: `model`, or None, and `layers`, which are empty if unknown.

    For a training job without a model, the layers are those of the network that it trains.
    """
    model_id = job.model_id
    try:
        model = services.database.read(lambda session: models.detail(session, model_id)) if model_id else None
    except ModelNotFound:  # it was deleted
        model = None
    if model is not None:
        return {"model": model, "layers": model.layers}
    has_trained_none = job.state is JobState.SUCCEEDED and job.model_id is None
    if isinstance(job.spec, TrainSpec) and not has_trained_none:
        return {"model": None, "layers": layer_table(job.spec.model)}
    return {"model": None, "layers": ()}
