"""Some jobs side by side."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from shared.errors import NotReady
from shared.schemas import AlignedSeries, Comparison, Job, JobEvaluation, MetricName, Resolution
from shared.store import evaluations, job_queries, metrics


def compare(session: Session, job_ids: Sequence[UUID]) -> Comparison:
    """What differs in the jobs' specifications, their curves over the same epochs, and their evaluations.

    Raises:
        JobNotFound: one of them does not exist.
    """
    jobs = tuple(Job.model_validate(dict(job_queries.get(session, job_id))) for job_id in job_ids)
    return Comparison(
        jobs=jobs,
        differing=_differing([job.spec.model_dump(mode="json") for job in jobs]),
        series=_aligned(session, job_ids),
        evaluations=tuple(_evaluation(session, job_id) for job_id in job_ids),
    )


def _differing(specs: Sequence[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    fields = dict.fromkeys(field for spec in specs for field in spec)
    values = {field: tuple(spec.get(field) for spec in specs) for field in fields}
    return {field: found for field, found in values.items() if any(value != found[0] for value in found)}


def _aligned(session: Session, job_ids: Sequence[UUID]) -> tuple[AlignedSeries, ...]:
    found = [metrics.read(session, job_id, Resolution.EPOCH, list(MetricName)) for job_id in job_ids]
    epochs = max(len(of_job[MetricName.LOSS]) for of_job in found)
    return tuple(
        AlignedSeries(
            name=name,
            x=tuple(range(epochs)),
            y=tuple((*of_job[name].tolist(), *[None] * (epochs - len(of_job[name]))) for of_job in found),
        )
        for name in MetricName
    )


def _evaluation(session: Session, job_id: UUID) -> JobEvaluation | None:
    try:
        return evaluations.get(session, job_id, misclassified=False)
    except NotReady:
        return None
