"""Tables fit, nothing in them is cut, and control characters of users' texts do not reach the terminal."""

from datetime import timedelta
from uuid import uuid4

import pytest

from shared.lifecycle import AttemptOutcome, JobState
from shared.schemas import ApiKey, Mode, Priority, Queue, Scope, Sweep, SweepDetail, SweepResult
from tests.support.command_line import rendered_lines
from tests.support.fake_api import (
    T0,
    make_attempt,
    make_failure,
    make_job,
    make_model,
    make_states,
    make_worker,
    make_worker_attempt,
)
from trainshed.cli.fitting import FittedTable
from trainshed.cli.tables import (
    job_details,
    job_table,
    key_table,
    model_details,
    model_table,
    sweep_details,
    sweep_table,
)
from trainshed.cli.worker_tables import history_table, queue_table, worker_table


def test_a_row_begins_with_the_end_of_the_jobs_id() -> None:
    job = make_job(name="baseline", values={"evaluation_accuracy": 0.98})
    row = rendered_lines(job_table([job]))[2].split()
    assert row[:6] == [str(job.id)[-8:], "train", "queued", "baseline", "0/3", "0.9800"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_job_with_a_long_name_fits_and_is_whole(width: int) -> None:
    job = make_job(name="a name " * 20, state=JobState.SUCCEEDED)
    shown = rendered_lines(job_table([job]), width)
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    assert text.count("name") == 20
    for value in (str(job.id)[-8:], "succeeded"):
        assert value in text


def _lists() -> dict[str, FittedTable]:
    """Each list, with values as long as they may be expected."""
    sweep = Sweep(
        id=uuid4(),
        name="learning rate and batch size",
        strategy="grid",
        parameters={},
        states={JobState.SUCCEEDED: 120, JobState.CANCELLED: 3},
        objective="evaluation_accuracy",
        mode=Mode.MAX,
        best=None,
        created_at=T0,
    )
    queue = Queue(
        name="gpu-large",
        paused=True,
        queued=dict.fromkeys(Priority, 1_000),
        running=8,
        workers=4,
        slots=16,
        oldest_waiting_s=90_000,
        max_running=10,
    )
    key = ApiKey(
        id=uuid4(),
        name="a notebook",
        scope=Scope.SUBMIT,
        created_at=T0,
        expires_at=T0,
        revoked_at=None,
    )
    return {
        sweep_table.__name__: sweep_table([sweep]),
        queue_table.__name__: queue_table([queue]),
        key_table.__name__: key_table([key]),
        model_table.__name__: model_table([make_model(uuid4(), uuid4())]),
        worker_table.__name__: worker_table([make_worker(id="gpu-host-17:31415", devices=("NVIDIA A100",))]),
        history_table.__name__: history_table([make_worker_attempt(error_code="data_unavailable")]),
    }


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("name", _lists())
def test_lists_fit_and_what_commands_take_is_whole(name: str, width: int) -> None:
    shown = rendered_lines(_lists()[name], width)
    assert max(map(len, shown)) <= width
    first = [_rows(rendered_lines(_lists()[name], each))[0].split()[0] for each in (width, 1_000)]
    assert len(first[0]) == len(first[1])
    assert "…" not in "".join(shown)


def _rows(lines: list[str]) -> list[str]:
    """The lines of a table below its head, which has several where it is narrow."""
    return lines[next(index for index, line in enumerate(lines) if set(line) == {"─"}) + 1 :]


def test_at_40_columns_a_sweep_shows_its_first_parameter_and_its_value() -> None:
    result = SweepResult(
        job_id=uuid4(), state=JobState.SUCCEEDED, parameters={"learning_rate": 0.001, "epochs": 2}, value=0.9
    )
    sweep = SweepDetail(
        id=uuid4(),
        name=None,
        strategy="grid",
        parameters={"learning_rate": [0.001], "epochs": [2]},
        states={JobState.SUCCEEDED: 1},
        objective="evaluation_accuracy",
        mode=Mode.MAX,
        best=None,
        created_at=T0,
        jobs=(result,),
    )
    lines = rendered_lines(sweep_details(sweep), 40)
    own = str(result.job_id)[-8:]
    assert [line.split() for line in lines if line.startswith(own)] == [[own, "0.001"], [own, "0.9000"]]
    assert ["Job", "learning_rate"] in [line.split() for line in lines]
    assert "epochs, State" in lines[-2]


@pytest.mark.parametrize("table", _lists().values(), ids=_lists())
def test_at_40_columns_no_head_is_broken_within_a_word(table: FittedTable) -> None:
    words = {word for line in rendered_lines(table, 300)[:1] for word in line.split()}
    for width in range(20, 60):
        lines = rendered_lines(table, width)
        head = lines[: len(lines) - len(_rows(lines)) - 1]
        assert {word for line in head for word in line.split()} <= words, width


def test_at_80_columns_next_to_nothing_is_left_out() -> None:
    left_out = {name: rendered_lines(table)[-1] for name, table in _lists().items()}
    assert {name: note for name, note in left_out.items() if note.startswith("Left out")} == {
        "history_table": "Left out to fit: Kind (see --json).",
    }


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
    assert "Kind         cnn, 5,994 parameters" in [line.rstrip() for line in text]


def test_a_worker_without_a_gpu_has_a_cpu() -> None:
    row = rendered_lines(worker_table([make_worker(heartbeat_age_s=12.4)]))[2]
    assert row.split() == ["host:42", "online", "default", "CPU", "0/1", "12", "s", "ago"]
