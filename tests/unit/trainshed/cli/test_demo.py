"""The demo cross-checks the results that it shows."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.schemas import Resolution
from tests.support.fake_api import make_job, make_job_evaluation, make_metrics
from trainshed import JobDetail, JobEvaluation, Metrics
from trainshed.cli.demo import inconsistencies

Results = tuple[JobDetail, JobEvaluation, dict[Resolution, Metrics]]


def make_results(**replaced_metrics: Metrics) -> Results:
    """The results of a job of 3 epochs with 2 steps each, evaluated on 50 images."""
    job = make_job()
    metrics = {resolution: make_metrics(resolution=resolution) for resolution in Resolution}
    metrics |= {Resolution(name): replacement for name, replacement in replaced_metrics.items()}
    return job, make_job_evaluation(job.id), metrics


def with_evaluation(**changes: Any) -> Results:
    job, evaluation, metrics = make_results()
    return job, evaluation.model_copy(update=changes), metrics


def with_first_class(**changes: Any) -> Results:
    first, *others = make_results()[1].per_class
    return with_evaluation(per_class=(first.model_copy(update=changes), *others))


def with_an_extra_confusion() -> Results:
    first, *rows = make_results()[1].confusion_matrix or ()
    return with_evaluation(confusion_matrix=((*first[:9], first[9] + 1), *rows))


def test_consistent_results_have_no_inconsistency() -> None:
    assert list(inconsistencies(*make_results())) == []


def test_rejected_images_are_in_no_cell_of_the_matrix() -> None:
    _, evaluation, _ = make_results()
    first, *others = evaluation.per_class
    row, *rows = evaluation.confusion_matrix or ()
    rejecting = with_evaluation(
        per_class=(first.model_copy(update={"correct": 4, "rejected": 1}), *others),
        confusion_matrix=((row[0] - 1, *row[1:]), *rows),
        accuracy=48 / 50,
    )
    assert list(inconsistencies(*rejecting)) == []


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (lambda: make_results(epoch=make_metrics(2)), "accuracy has 2 points by epoch, not 3"),
        (lambda: make_results(step=make_metrics(2, Resolution.STEP)), "loss has 4 points by step, not 6"),
        (lambda: make_results(step=Metrics(series=())), "loss has 0 points by step, not 6"),
        (lambda: with_first_class(count=6), "the classes have 51 images, the evaluation 50, the request 50"),
        (lambda: with_evaluation(size=51), "the classes have 50 images, the evaluation 51, the request 50"),
        (with_an_extra_confusion, "the table and the matrix differ on Zero"),
        (lambda: with_first_class(correct=4), "the table and the matrix differ on Zero"),
        (lambda: with_evaluation(accuracy=0.9), "the accuracy is not that of the classes"),
    ],
)
def test_each_inconsistency_is_reported(results: Callable[[], Results], message: str) -> None:
    assert message in list(inconsistencies(*results()))
