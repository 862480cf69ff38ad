"""Commands that submit a job."""

import inspect
import json

import pytest

from shared.schemas import EvaluateRequest, TrainRequest, Worker
from tests.support.command_line import CommandLine
from tests.support.fake_api import (
    FakeApi,
    make_cancellation,
    make_failure,
    make_job,
    make_life,
    make_problem,
    make_success,
    make_worker,
)
from trainshed.cli import submit


class Interrupting(list[float]):
    """Takes the client's first pause for the moment of Ctrl-C."""

    def append(self, pause: float) -> None:
        raise KeyboardInterrupt


@pytest.fixture
def cli() -> CommandLine:
    return CommandLine(FakeApi())


def test_every_field_of_a_training_has_an_option() -> None:
    assert set(TrainRequest.model_fields) < set(inspect.signature(submit.train).parameters)


def test_every_field_of_an_evaluation_has_an_option() -> None:
    fields = set(EvaluateRequest.model_fields) - {"model_id"}
    assert fields < set(inspect.signature(submit.evaluate).parameters)


def test_a_training_without_options_is_left_to_the_server(cli: CommandLine) -> None:
    assert cli.run("train").exit_code == 0
    assert cli.sent() == {"kind": "train", "spec": {}}


def test_every_option_reaches_the_server(cli: CommandLine) -> None:
    options = (
        "--dataset digits --model dense --epochs 3 --batch-size 64 --learning-rate 0.01 --optimizer sgd "
    )
    options += "--train-size 100 --validation-size 20 --evaluation-size 50 --seed 7 --threshold 0.5 "
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
        },
        "name": "mine",
        "tags": ["a", "b"],
        "queue": "slow",
        "priority": "low",
        "max_attempts": 2,
        "max_runtime_s": 60.0,
    }


def test_an_evaluation_names_the_model_of_a_job(cli: CommandLine) -> None:
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


def test_a_job_is_followed_to_its_tables(cli: CommandLine) -> None:
    result = cli.run("train")
    shown = result.stdout.splitlines()
    assert shown[0].startswith("Job ")
    assert sum(line.startswith("epoch ") for line in shown) == 3
    assert any(line.startswith("Class ") for line in shown)
    assert any(line.startswith("Confusion matrix") for line in shown)
    assert " succeeded. " in result.stderr
    assert max(map(len, shown)) <= 80


def test_as_json_there_is_one_document_and_no_word_beside_it(cli: CommandLine) -> None:
    result = cli.run("train", "--json")
    document = json.loads(result.stdout)
    assert document["state"] == "succeeded"
    assert len(document["evaluation"]["confusion_matrix"]) == 10
    assert result.stderr == ""


def test_detached_a_job_is_only_submitted(cli: CommandLine) -> None:
    result = cli.run("train", "--detach")
    assert "is queued. Follow it with `trainshed watch " in result.stdout
    assert [request.method for request in cli.api.requests] == ["POST"]
    assert json.loads(cli.run("train", "--detach", "--json").stdout)["state"] == "queued"


def test_a_failed_job_says_why_and_ends_with_1(cli: CommandLine) -> None:
    cli.api.next_life = lambda job: [job, make_failure(job)]
    result = cli.run("train")
    assert "failed: data_unavailable: no route" in result.stderr
    assert result.exit_code == 1


def test_a_cancelled_job_ends_with_3(cli: CommandLine) -> None:
    cli.api.next_life = lambda job: [job, make_cancellation(job)]
    result = cli.run("train")
    assert "was cancelled" in result.stderr
    assert result.exit_code == 3


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(cli: CommandLine) -> None:
    cli.api.next_life = lambda job: [job, job, *make_life(job)[1:]]

    cli.api.pauses = Interrupting()
    result = cli.run("train")
    (job_id,) = cli.api.lives
    assert f"Detached; the job goes on. Follow it again with `trainshed watch {job_id}`." in result.stderr
    assert result.exit_code == 130


@pytest.mark.parametrize(
    "workers",
    [
        (),
        (make_worker(state="stopped"),),
        (make_worker(heartbeat_age_s=900.0),),
        (make_worker(queues=("x",)),),
    ],
)
def test_a_job_that_nobody_will_take_is_warned_of(cli: CommandLine, workers: tuple[Worker, ...]) -> None:
    cli.api.workers = workers
    assert "No worker serves the queue `default` now" in cli.run("train").stderr


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--epochs 0", "--epochs 0: Input should be greater than or equal to 1"),
        ("--threshold 2", "--threshold 2.0: Input should be less than or equal to 1"),
        ("--learning-rate nan", "--learning-rate nan: Input should be a finite number"),
        ("--queue A!", "--queue A!: String should match pattern"),
        ("--max-runtime 0", "--max-runtime 0.0: Input should be greater than 0"),
        ("--tag  ", "--tag"),
    ],
)
def test_a_value_out_of_bounds_is_refused_before_anything_is_sent(
    cli: CommandLine, options: str, complaint: str
) -> None:
    name, value = options.split(" ", 1)
    result = cli.run("train", name, value.strip())
    assert result.stderr.startswith(f"Error: {complaint}")
    assert result.exit_code == 2
    assert cli.api.requests == []


def test_every_wrong_value_has_a_line_of_its_own(cli: CommandLine) -> None:
    result = cli.run("train", "--epochs", 0, "--batch-size", 0)
    assert len(result.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        ({"pointer": "/spec/train_size", "detail": "too many"}, "--train-size: too many"),
        ({"pointer": "/tags/0", "detail": "too long"}, "--tag: too long"),
        ({"pointer": "/max_runtime_s", "detail": "too long"}, "--max-runtime: too long"),
        ({"parameter": "limit", "detail": "too many"}, "--limit: too many"),
        ({"pointer": "/spec", "detail": "too many steps"}, "too many steps"),
    ],
)
def test_what_the_server_finds_wrong_is_said_of_the_option(
    cli: CommandLine, found: dict[str, str], complaint: str
) -> None:
    cli.api.troubles = [make_problem(422, "the request is wrong", errors=[found])]
    result = cli.run("train")
    assert result.stderr == f"Error: {complaint}\n"
    assert result.exit_code == 2


def test_a_servers_own_failure_ends_with_1(cli: CommandLine) -> None:
    cli.api.troubles = [make_problem(500, "this is a fault of the server's")]
    result = cli.run("train")
    assert result.stderr == "Error: this is a fault of the server's\n"
    assert result.exit_code == 1


def test_a_job_without_a_model_cannot_be_evaluated(cli: CommandLine) -> None:
    cli.api.add(make_job())
    result = cli.run("evaluate", "last")
    assert result.stderr.endswith("has no model: it is queued\n")
    assert result.exit_code == 2
