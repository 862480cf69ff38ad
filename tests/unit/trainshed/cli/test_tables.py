"""What is shown fits 80 columns, can be read without colour, and is not steered by what users typed."""

from datetime import timedelta

import pytest
from rich.console import Console, RenderableType

from shared.lifecycle import AttemptOutcome, JobState, Phase
from shared.schemas import LastMetrics
from tests.support.factories import make_evaluation
from tests.support.fake_api import (
    T0,
    make_attempt,
    make_failure,
    make_job,
    make_life,
    make_model,
    make_progress,
    make_worker,
)
from trainshed.cli import tables


def lines(renderable: RenderableType, width: int = 80, color: bool = False) -> list[str]:
    """What a terminal of that width shows."""
    console = Console(width=width, force_terminal=color, color_system="standard" if color else None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().splitlines()


def test_the_class_table_has_a_line_a_class_with_four_decimals() -> None:
    head, rule, *rows = lines(tables.class_table(make_evaluation()))
    assert " ".join(head.split()) == "Class Accuracy # Samples Correct Rejected Precision Recall F1"
    assert set(rule) == {"─"}
    assert len(rows) == 10
    assert rows[4].split() == ["4", "Four", "1.0000", "5", "5", "0", "0.8333", "1.0000", "0.9091"]
    assert rows[9].split() == ["9", "Nine", "0.8000", "5", "4", "0", "1.0000", "0.8000", "0.8889"]


def test_a_ratio_of_nothing_is_a_dash() -> None:
    evaluation = make_evaluation()
    empty = evaluation.per_class[0].model_copy(
        update={"count": 0, "correct": 0, "accuracy": None, "precision": None, "recall": None, "f1": None}
    )
    evaluation = evaluation.model_copy(update={"per_class": (empty, *evaluation.per_class[1:])})
    assert lines(tables.class_table(evaluation))[2].split() == [
        "0",
        "Zero",
        "-",
        "0",
        "0",
        "0",
        "-",
        "-",
        "-",
    ]


def test_the_matrix_has_true_classes_in_rows_and_predictions_in_columns() -> None:
    title, _, head, *rows = lines(tables.confusion_matrix(make_evaluation()))
    assert title == "Confusion matrix: rows are the true class, columns the prediction"
    assert head.split() == [str(label) for label in range(10)]
    assert rows[9].split() == ["9", "Nine", "·", "·", "·", "·", "1", "·", "·", "·", "·", "[4]"]


def test_the_diagonal_can_be_told_without_colour() -> None:
    _, _, _, *rows = lines(tables.confusion_matrix(make_evaluation()))
    for label, row in enumerate(rows):
        assert row.split()[2 + label].startswith("[")
        assert row.count("[") == 1


def test_the_matrix_columns_stand_below_their_heads() -> None:
    _, _, head, *rows = lines(tables.confusion_matrix(make_evaluation()))
    assert rows[9].index("1") == head.index("4")
    assert rows[7].index("[") + 1 == head.index("7")


def test_errors_and_the_diagonal_have_colours_of_their_own() -> None:
    row = lines(tables.confusion_matrix(make_evaluation()), color=True)[-1]
    assert "\x1b[1;31m   1 " in row
    assert "\x1b[1;37;44m[4]" in row


def test_a_matrix_of_thousands_with_long_names_fits_80_columns() -> None:
    evaluation = make_evaluation(
        confusion_matrix=tuple(tuple(1_000 - abs(i - j) for j in range(10)) for i in range(10))
    )
    boots = evaluation.per_class[9].model_copy(update={"name": "Ankle boot"})
    evaluation = evaluation.model_copy(update={"per_class": (*evaluation.per_class[:9], boots)})
    for table in (tables.confusion_matrix(evaluation), tables.class_table(evaluation)):
        shown = lines(table)
        assert max(map(len, shown)) <= 80
        assert not any("…" in line for line in shown)
    assert len(lines(tables.confusion_matrix(evaluation))) == 13


def test_an_evaluation_says_its_size_accuracy_and_loss() -> None:
    assert lines(tables.evaluation_tables(make_evaluation()))[0] == (
        "Evaluation on 50 images: accuracy 0.9800, loss 0.2000"
    )


def test_an_evaluation_with_a_threshold_says_how_many_it_rejected() -> None:
    shown = lines(tables.evaluation_tables(make_evaluation(threshold=0.75, rejected=3)))
    assert shown[0].endswith("3 rejected below 0.75")


def test_jobs_are_named_by_the_end_of_their_ids() -> None:
    job = make_job(name="baseline", evaluation_accuracy=0.98)
    row = lines(tables.job_table([job]))[2].split()
    assert row[:6] == [str(job.id)[-8:], "train", "queued", "baseline", "0/3", "0.9800"]


def test_a_job_with_a_long_name_fits_80_columns() -> None:
    shown = lines(tables.job_table([make_job(name="a name " * 20)]))
    assert max(map(len, shown)) <= 80
    assert "…" in shown[2]
    assert "2026-01-02" in shown[2]


def test_a_name_cannot_steer_the_terminal() -> None:
    job = make_job(name="\x1b[2Jgone[red]\n\a")
    for shown in (tables.job_table([job]), tables.job_sheet(job)):
        text = "\n".join(lines(shown))
        assert "?[2Jgone[red]??" in text
        assert "\x1b" not in text


def test_a_jobs_sheet_has_all_that_is_known_and_nothing_empty() -> None:
    job = make_life(make_job(name="baseline", tags=("a", "b")))[-1]
    text = "\n".join(lines(tables.job_sheet(job)))
    for fact in (str(job.id), "baseline", "a, b", "succeeded", "epochs=3", "epoch 3/3", str(job.model_id)):
        assert fact in text
    assert "Retry of" not in text
    assert "Phase" not in text
    assert "threshold" not in text


def test_a_failed_jobs_sheet_says_why() -> None:
    text = "\n".join(lines(tables.job_sheet(make_failure(make_job()))))
    assert "data_unavailable: no route" in text


def test_a_jobs_sheet_lists_its_attempts() -> None:
    lost = make_attempt(outcome=AttemptOutcome.LOST, finished_at=T0 + timedelta(seconds=31.5))
    job = make_job(attempts=(lost, make_attempt(2)))
    first, second = lines(tables.job_sheet(job))[-2:]
    assert first.split() == ["1", "host:42", "CPU", "31.5", "lost", "-"]
    assert second.split() == ["2", "host:42", "CPU", "-", "running", "-"]


def test_a_models_table_has_the_four_columns_of_tfjs_vis() -> None:
    job = make_job()
    text = lines(tables.model_table(make_model(job.id, job.id)))
    assert [line.split() for line in text if "conv2d" in line] == [
        ["conv2d", "Conv2D", "[batch,", "24,", "24,", "8]", "208", "yes"]
    ]
    assert "5,994 parameters, accuracy 0.9800" in text


def test_a_worker_without_a_gpu_has_a_cpu() -> None:
    row = lines(tables.worker_table([make_worker(heartbeat_age_s=12.4)]))[2]
    assert row.split() == ["host:42", "online", "default", "CPU", "0/1", "12", "s", "ago"]


@pytest.mark.parametrize("width", [80, 120])
def test_progress_is_two_lines_as_wide_as_the_terminal(width: int) -> None:
    metrics = LastMetrics(loss=0.1, accuracy=0.9, val_loss=0.2, val_accuracy=0.8)
    job = make_job(
        state=JobState.RUNNING,
        phase=Phase.BUILDING_MODEL,
        attempt=2,
        progress=make_progress(2),
        metrics=metrics,
    )
    bar, numbers = lines(tables.progress(job), width)
    assert len(bar) == width
    assert bar.startswith("building model")
    assert bar.endswith("epoch 2/3  step 4/6  attempt 2")
    assert numbers == "loss 0.1000  accuracy 0.9000  val_loss 0.2000  val_accuracy 0.8000"


def test_an_evaluation_jobs_progress_has_no_epochs() -> None:
    job = make_job(kind="evaluate", state=JobState.RUNNING, phase=Phase.EVALUATING, progress=None)
    assert lines(tables.progress(job))[0].startswith("evaluating")


def test_a_running_job_that_was_cancelled_is_cancelling() -> None:
    job = make_job(state=JobState.RUNNING, phase=Phase.TRAINING, cancel_requested_at=T0)
    assert tables.activity(job).plain == "cancelling"


def test_a_running_job_before_its_first_phase_is_running() -> None:
    assert tables.activity(make_job(state=JobState.RUNNING)).plain == "running"


def test_a_setback_says_why_if_that_is_known() -> None:
    released = make_attempt(outcome=AttemptOutcome.RELEASED)
    failed = make_attempt(2, outcome=AttemptOutcome.FAILED, error_code="gpu_oom", error_message="too big")
    assert tables.setback(released).plain == "attempt 1 released: the job waits for another"
    assert tables.setback(failed).plain == "attempt 2 failed (gpu_oom: too big): the job waits for another"
