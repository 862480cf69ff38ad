"""`trainshed train` and `trainshed evaluate`."""

import inspect
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.schemas import EvaluateRequest, TrainRequest, WaitingFor
from tests.support.command_line import CommandLine, Interrupting
from tests.support.fake_api import (
    make_cancellation,
    make_failure,
    make_job,
    make_problem,
    make_states,
    make_success,
)
from trainshed import JobDetail
from trainshed.cli import submit


def test_every_field_of_a_training_has_an_option() -> None:
    assert set(TrainRequest.model_fields) < set(inspect.signature(submit.train).parameters)


def test_every_field_of_an_evaluation_has_an_option() -> None:
    fields = set(EvaluateRequest.model_fields) - {"model_id"}
    assert fields < set(inspect.signature(submit.evaluate).parameters)


def test_without_options_the_server_applies_its_defaults(cli: CommandLine) -> None:
    assert cli.run("train").exit_code == 0
    assert cli.sent() == {"kind": "train", "spec": {}}


def test_every_option_reaches_the_server(cli: CommandLine) -> None:
    options = (
        "--dataset digits --model dense --epochs 3 --batch-size 64 --learning-rate 0.01 --optimizer sgd "
    )
    options += "--train-size 100 --validation-size 20 --evaluation-size 50 --seed 7 --threshold 0.5 "
    options += "--keep-weights "
    options += "--name mine --tag a --tag b --queue slow --priority low --max-attempts 2 --max-runtime 60"
    assert cli.run("train", *options.split()).exit_code == 0
    assert cli.sent() == {
        "kind": "train",
        "spec": {
            "dataset": "digits",
            "model": "dense",
            "epochs": 3,
            "batch_size": 64,
            "learning_rate": 0.01,
            "optimizer": "sgd",
            "train_size": 100,
            "validation_size": 20,
            "evaluation_size": 50,
            "seed": 7,
            "threshold": 0.5,
            "keep_weights": True,
        },
        "name": "mine",
        "tags": ["a", "b"],
        "queue": "slow",
        "priority": "low",
        "max_attempts": 2,
        "max_runtime_s": 60.0,
    }


def test_an_evaluation_contains_the_model_of_a_job(cli: CommandLine) -> None:
    job = make_success(make_job())
    cli.api.add(job)
    options = "--evaluation-size 50 --seed 7 --threshold 0.5 --name mine --queue slow --max-attempts 1"
    assert cli.run("evaluate", "last", *options.split()).exit_code == 0
    assert cli.sent() == {
        "kind": "evaluate",
        "spec": {"model_id": str(job.model_id), "evaluation_size": 50, "seed": 7, "threshold": 0.5},
        "name": "mine",
        "queue": "slow",
        "max_attempts": 1,
    }


def test_a_job_is_followed_until_its_evaluation_is_shown(cli: CommandLine) -> None:
    result = cli.run("train")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Job ")
    assert sum(line.startswith("epoch ") for line in lines) == 3
    assert any(line.startswith("Class ") for line in lines)
    assert any(line.startswith("Confusion matrix") for line in lines)
    assert " succeeded. " in result.stderr
    assert max(map(len, lines)) <= 80


def test_with_json_the_output_is_one_document_without_messages(cli: CommandLine) -> None:
    result = cli.run("train", "--json")
    document = json.loads(result.stdout)
    assert document["state"] == "succeeded"
    assert len(document["evaluation"]["confusion_matrix"]) == 10
    assert result.stderr == ""


def test_a_detached_job_is_only_submitted(cli: CommandLine) -> None:
    result = cli.run("train", "--detach")
    assert "is queued. Follow it with `trainshed watch " in result.stdout
    assert [request.method for request in cli.api.requests] == ["POST", "GET"]  # for warnings
    assert json.loads(cli.run("train", "--detach", "--json").stdout)["state"] == "queued"


def test_a_failed_job_is_reported_with_its_error_and_exit_code_1(cli: CommandLine) -> None:
    cli.api.states_after_submit = lambda job: [job, make_failure(job)]
    result = cli.run("train")
    assert "failed: data_unavailable: no route" in result.stderr
    assert result.exit_code == 1


def test_a_cancelled_job_has_exit_code_3(cli: CommandLine) -> None:
    cli.api.states_after_submit = lambda job: [job, make_cancellation(job)]
    result = cli.run("train")
    assert "was cancelled" in result.stderr
    assert result.exit_code == 3


def test_ctrl_c_detaches_and_leaves_the_job_running(cli: CommandLine) -> None:
    cli.api.states_after_submit = lambda job: [*[job] * 3, *make_states(job)[1:]]

    cli.api.pauses = Interrupting()
    result = cli.run("train")
    (job_id,) = cli.api.states
    assert f"Detached; the job continues. Follow it again with `trainshed watch {job_id}`." in result.stderr
    assert result.exit_code == 130


def test_a_follower_that_gives_up_says_that_the_job_continues(cli: CommandLine) -> None:
    class Failing(list[float]):
        """The client's pauses, after the first of which the server explains why it fails."""

        def append(self, pause: float) -> None:
            cli.api.faults = [make_problem(500, "this is a fault of the server's", request_id="r-1")]

    cli.api.pauses = Failing()
    cli.api.states_after_submit = lambda job: [*[job] * 3, *make_states(job)[1:]]
    result = cli.run("train")
    (job_id,) = cli.api.states
    continues = f"The job continues. Follow it again with `trainshed watch {job_id}`.\n"
    assert result.stderr == f"{continues}Error: this is a fault of the server's (request r-1)\n"
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("reason", "warning"),
    [
        (
            WaitingFor.NO_WORKER_ONLINE,
            "No worker serves queue `default`; the job waits for one (`trainshed worker`).\n",
        ),
        (
            WaitingFor.PAUSED,
            "Queue `default` is paused; the job waits until it is resumed (`trainshed queues resume ",
        ),
        (WaitingFor.ALL_BUSY, "Job "),
        (None, "Job "),
    ],
)
def test_a_job_that_waits_for_somebody_to_act_is_warned_of(
    cli: CommandLine, reason: WaitingFor | None, warning: str
) -> None:
    cli.api.states_after_submit = lambda job: make_states(job.model_copy(update={"waiting_for": reason}))
    assert cli.run("train").stderr.startswith(warning)
    detached = cli.run("train", "--detach").stderr
    assert detached.startswith(warning) if warning != "Job " else detached == ""


def test_a_detached_job_is_submitted_even_if_the_server_is_away_afterwards(cli: CommandLine) -> None:
    def submitted(job: JobDetail) -> list[JobDetail]:
        cli.api.faults = [make_problem(500, "this is a fault of the server's")]
        return [job]

    cli.api.states_after_submit = submitted
    result = cli.run("train", "--detach")
    assert (result.stderr, result.exit_code) == ("", 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--epochs 0", "--epochs: must be 1 to 1,000, not 0"),
        ("--threshold 2", "--threshold: must be 0 to 1, not 2.0"),
        ("--learning-rate nan", "--learning-rate: must be a finite number, more than 0, up to 10, not nan"),
        (
            "--queue A!",
            "--queue: must have only lower-case letters, digits, `-` and `_`, and begin",
        ),
        ("--max-runtime 0", "--max-runtime: must be more than 0, up to 604,800, not 0.0"),
        ("--tag  ", "--tag"),
    ],
)
def test_an_invalid_value_is_refused_without_a_request(cli: CommandLine, options: str, message: str) -> None:
    name, value = options.split(" ", 1)
    result = cli.run("train", name, value.strip())
    assert result.stderr.startswith(f"Error: {message}")
    assert result.exit_code == 2
    assert cli.api.requests == []


def test_every_invalid_value_has_a_line_of_its_own(cli: CommandLine) -> None:
    result = cli.run("train", "--epochs", 0, "--batch-size", 0)
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"pointer": "/spec/train_size", "detail": "too many"}, "--train-size: too many"),
        ({"pointer": "/tags/0", "detail": "too long"}, "--tag: too long"),
        ({"pointer": "/max_runtime_s", "detail": "too long"}, "--max-runtime: too long"),
        ({"parameter": "limit", "detail": "too many"}, "limit: too many"),
        ({"pointer": "/spec", "detail": "too many steps"}, "too many steps"),
    ],
)
def test_the_servers_validation_errors_name_the_option(
    cli: CommandLine, error: dict[str, str], message: str
) -> None:
    cli.api.faults = [make_problem(422, "the request is wrong", errors=[error])]
    result = cli.run("train")
    assert result.stderr == f"Error: {message}\n"
    assert result.exit_code == 2


def test_a_failure_of_the_server_has_exit_code_1(cli: CommandLine) -> None:
    cli.api.faults = [make_problem(500, "this is a fault of the server's")]
    result = cli.run("train")
    assert result.stderr == "Error: this is a fault of the server's\n"
    assert result.exit_code == 1


def test_a_job_without_a_model_cannot_be_evaluated(cli: CommandLine) -> None:
    cli.api.add(make_job())
    result = cli.run("evaluate", "last")
    assert result.stderr.endswith("has no model: it is queued\n")
    assert result.exit_code == 2


def _submitted(cli: CommandLine) -> dict[str, Any]:
    """The body of the last submit."""
    [*_, last] = [request for request in cli.api.requests if request.method == "POST"]
    body: dict[str, Any] = json.loads(last.content)
    return body


def test_a_job_is_submitted_to_start_later(cli: CommandLine) -> None:
    cli.run("train", "--at", "2126-01-31T22:00+01:00", "--detach")
    assert datetime.fromisoformat(_submitted(cli)["scheduled_at"]) == datetime(2126, 1, 31, 21, tzinfo=UTC)


def test_nonsense_is_no_time(cli: CommandLine) -> None:
    result = cli.run("train", "--at", "tonight")
    assert "'tonight' is not a time, such as 2026-01-31" in result.stderr
    assert result.exit_code == 2


def test_an_evaluation_after_its_training_names_the_job_as_its_model(cli: CommandLine) -> None:
    job_id = cli.api.add(make_job())
    cli.run("evaluate", "last", "--after", str(job_id)[-8:], "--detach")
    body = _submitted(cli)
    assert (body["spec"]["model_id"], body["after"]) == (str(job_id), [str(job_id)])


def test_an_evaluation_after_another_job_needs_a_model(cli: CommandLine) -> None:
    other, job_id = cli.api.add(make_job()), cli.api.add(make_job())
    result = cli.run("evaluate", job_id, "--after", other)
    assert result.stderr.endswith("has no model: it is queued\n")
