"""Comparison of jobs: their specifications, their metrics over the same epochs, their evaluations."""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from shared.errors import EvaluationNotFound, NotReady
from shared.schemas import AlignedSeries, Comparison, Job, JobEvaluation, Resolution
from shared.store import evaluations, job_queries, metrics


def compare(session: Session, job_ids: Sequence[UUID]) -> Comparison:
    """Compare jobs: the differences of their specifications, their metrics by epoch, their evaluations.

    Raises:
        JobNotFound: one of the jobs does not exist.
    """
    jobs = tuple(Job.model_validate(dict(job_queries.get(session, job_id))) for job_id in job_ids)
    return Comparison(
        jobs=jobs,
        differing=_differing([job.spec.model_dump(mode="json") for job in jobs]),
        series=_aligned_metrics(session, job_ids),
        evaluations=tuple(_evaluation(session, job_id) for job_id in job_ids),
    )


def _differing(specs: Sequence[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    names = dict.fromkeys(name for spec in specs for name in spec)
    fields = {name: tuple(spec.get(name) for spec in specs) for name in names}
    return {name: values for name, values in fields.items() if any(value != values[0] for value in values)}


def _aligned_metrics(session: Session, job_ids: Sequence[UUID]) -> tuple[AlignedSeries, ...]:
    jobs = [metrics.read(session, job_id, Resolution.EPOCH) for job_id in job_ids]
    epochs = max((len(array) for arrays in jobs for array in arrays.values()), default=0)
    names = dict.fromkeys(name for arrays in jobs for name in arrays)
    return tuple(
        AlignedSeries(
            name=name,
            x=tuple(range(epochs)),
            y=tuple(_padded(arrays.get(name, np.empty(0)), epochs) for arrays in jobs),
        )
        for name in names
    )


def _padded(values: NDArray[np.float64], length: int) -> tuple[float | None, ...]:
    numbers = (value if math.isfinite(value) else None for value in values.tolist())
    return (*numbers, *[None] * (length - len(values)))


def _evaluation(session: Session, job_id: UUID) -> JobEvaluation | None:
    with suppress(EvaluationNotFound, NotReady):
        return evaluations.get(session, job_id, misclassified=False)
    return None
