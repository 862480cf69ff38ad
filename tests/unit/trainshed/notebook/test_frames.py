"""Answers as DataFrames."""

from uuid_utils.compat import uuid7

from shared.schemas import Comparison, Resolution, SweepDetail, SweepResult
from tests.support.fake_api import (
    T0,
    make_job,
    make_job_evaluation,
    make_metrics,
    make_success,
    make_worker,
)
from trainshed.notebook.frames import comparison_frame, frame_of, metrics_frame, sweep_frame


def test_metrics_have_a_row_for_each_epoch_or_step() -> None:
    epochs, steps = (metrics_frame(make_metrics(resolution=resolution)) for resolution in Resolution)
    assert (epochs.index.name, list(epochs.index)) == ("epoch", [0, 1, 2])
    assert list(epochs) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert (steps.index.name, len(steps), list(steps)) == ("step", 6, ["loss", "accuracy"])


def test_no_metrics_are_an_empty_frame() -> None:
    assert len(metrics_frame(make_metrics(epochs=0))) == 0


def test_jobs_have_their_specification_and_results() -> None:
    queued, done = make_job(name="a"), make_success(make_job(name="b"))
    frame = frame_of([queued, done])
    assert list(frame.name) == ["a", "b"]
    assert frame.epochs[0] == 3
    assert (frame.evaluation_accuracy[1], frame.state[1]) == (0.98, "succeeded")


def test_other_items_have_their_fields() -> None:
    assert frame_of([make_worker()]).host[0] == "host"


def test_a_sweep_has_its_parameters_and_the_value_of_each_job() -> None:
    results = [
        SweepResult(job_id=uuid7(), state="succeeded", parameters={"epochs": epochs}, value=value)
        for epochs, value in ((2, 0.9), (1, 0.8))
    ]
    sweep = SweepDetail(
        id=uuid7(),
        name=None,
        strategy="grid",
        parameters={"epochs": [1, 2]},
        states={"succeeded": 2},
        objective="evaluation_accuracy",
        mode="max",
        best=results[0],
        created_at=T0,
        jobs=results,
    )
    frame = sweep_frame(sweep)
    assert frame.evaluation_accuracy[frame.epochs == 2].item() == 0.9


def test_compared_jobs_have_what_differs_and_their_results() -> None:
    jobs = make_success(make_job()), make_job()
    comparison = Comparison(
        jobs=jobs,
        differing={"epochs": (1, 2)},
        series=(),
        evaluations=(make_job_evaluation(jobs[0].id), None),
    )
    frame = comparison_frame(comparison)
    assert list(frame.index) == [job.id for job in jobs]
    assert list(frame.epochs) == [1, 2]
