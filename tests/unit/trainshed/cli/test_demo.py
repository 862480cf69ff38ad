"""The demo checks what it shows."""

from collections.abc import Callable

import pytest

from shared.schemas import JobDetail, JobEvaluation, Metrics
from tests.support.fake_api import make_job, make_job_evaluation, make_metrics
from trainshed.cli.demo import disagreements

Results = tuple[JobDetail, JobEvaluation, Metrics, Metrics]


def make_results() -> Results:
    """What a job of 3 epochs with 2 steps each leaves, evaluated on 50 images."""
    job = make_job()
    return job, make_job_evaluation(job.id), make_metrics(resolution="epoch"), make_metrics(resolution="step")


def with_evaluation(**changes: object) -> Results:
    job, evaluation, epochs, steps = make_results()
    return job, evaluation.model_copy(update=changes), epochs, steps


def with_first_class(**changes: object) -> Results:
    first, *others = make_results()[1].per_class
    return with_evaluation(per_class=(first.model_copy(update=changes), *others))


def with_an_epoch_missing() -> Results:
    job, evaluation, _, steps = make_results()
    return job, evaluation, make_metrics(2, "epoch"), steps


def with_steps_missing() -> Results:
    job, evaluation, epochs, _ = make_results()
    return job, evaluation, epochs, make_metrics(2, "step")


def without_curves() -> Results:
    job, evaluation, epochs, _ = make_results()
    return job, evaluation, epochs, Metrics(series=())


def with_an_image_too_many() -> Results:
    first, *rows = make_results()[1].confusion_matrix
    return with_evaluation(confusion_matrix=((*first[:9], first[9] + 1), *rows))


def test_results_that_agree_are_left_alone() -> None:
    assert list(disagreements(*make_results())) == []


def test_rejected_images_are_in_no_cell_of_the_matrix() -> None:
    _, evaluation, *_ = make_results()
    first, *others = evaluation.per_class
    row, *rows = evaluation.confusion_matrix
    rejecting = with_evaluation(
        per_class=(first.model_copy(update={"correct": 4, "rejected": 1}), *others),
        confusion_matrix=((row[0] - 1, *row[1:]), *rows),
        accuracy=48 / 50,
    )
    assert list(disagreements(*rejecting)) == []


@pytest.mark.parametrize(
    ("results", "complaint"),
    [
        (with_an_epoch_missing, "accuracy has 2 points by epoch, and not 3"),
        (with_steps_missing, "loss has 4 points by step, and not 6"),
        (without_curves, "loss has 0 points by step, and not 6"),
        (lambda: with_first_class(count=6), "the classes have 51 images, the evaluation 50, not 50 as asked"),
        (lambda: with_evaluation(size=51), "the classes have 50 images, the evaluation 51, not 50 as asked"),
        (with_an_image_too_many, "the table and the matrix differ on Zero"),
        (lambda: with_first_class(correct=4), "the table and the matrix differ on Zero"),
        (lambda: with_evaluation(accuracy=0.9), "the accuracy is not that of the classes"),
    ],
)
def test_results_that_contradict_each_other_are_found(results: Callable[[], Results], complaint: str) -> None:
    assert complaint in list(disagreements(*results()))
