"""Tables fit 80 columns, and control characters of users' texts do not reach the terminal."""

from datetime import timedelta

from shared.lifecycle import AttemptOutcome
from tests.support.command_line import rendered_lines
from tests.support.fake_api import (
    T0,
    make_attempt,
    make_failure,
    make_job,
    make_model,
    make_states,
    make_worker,
)
from trainshed.cli.tables import job_details, job_table, model_details, worker_table


def test_a_row_begins_with_the_end_of_the_jobs_id() -> None:
    job = make_job(name="baseline", evaluation_accuracy=0.98)
    row = rendered_lines(job_table([job]))[2].split()
    assert row[:6] == [str(job.id)[-8:], "train", "queued", "baseline", "0/3", "0.9800"]


def test_a_job_with_a_long_name_fits_80_columns() -> None:
    shown = rendered_lines(job_table([make_job(name="a name " * 20)]))
    assert max(map(len, shown)) <= 80
    assert "…" in shown[2]
    assert "2026-01-02" in shown[2]


def test_control_characters_of_a_name_do_not_reach_the_terminal() -> None:
    job = make_job(name="\x1b[2Jgone[red]\n\a")
    for shown in (job_table([job]), job_details(job)):
        text = "\n".join(rendered_lines(shown))
        assert "?[2Jgone[red]??" in text
        assert "\x1b" not in text


def test_a_jobs_details_contain_no_empty_fact() -> None:
    job = make_states(make_job(name="baseline", tags=("a", "b")))[-1]
    text = "\n".join(rendered_lines(job_details(job)))
    for fact in (str(job.id), "baseline", "a, b", "succeeded", "epochs=3", "epoch 3/3", str(job.model_id)):
        assert fact in text
    assert "Retry of" not in text
    assert "Phase" not in text
    assert "threshold" not in text


def test_a_failed_jobs_details_contain_its_error() -> None:
    text = "\n".join(rendered_lines(job_details(make_failure(make_job()))))
    assert "data_unavailable: no route" in text


def test_a_jobs_details_list_its_attempts() -> None:
    lost = make_attempt(outcome=AttemptOutcome.LOST, finished_at=T0 + timedelta(seconds=31.5))
    job = make_job(attempts=(lost, make_attempt(2)))
    first, second = rendered_lines(job_details(job))[-2:]
    assert first.split() == ["1", "host:42", "CPU", "31.5", "lost", "-"]
    assert second.split() == ["2", "host:42", "CPU", "-", "running", "-"]


def test_a_models_details_have_the_four_columns_of_tfjs_vis() -> None:
    job = make_job()
    text = rendered_lines(model_details(make_model(job.id, job.id)))
    assert [line.split() for line in text if "conv2d" in line] == [
        ["conv2d", "Conv2D", "[batch,", "24,", "24,", "8]", "208", "yes"]
    ]
    assert "5,994 parameters, accuracy 0.9800" in text


def test_a_worker_without_a_gpu_has_a_cpu() -> None:
    row = rendered_lines(worker_table([make_worker(heartbeat_age_s=12.4)]))[2]
    assert row.split() == ["host:42", "online", "default", "CPU", "0/1", "12", "s", "ago"]
