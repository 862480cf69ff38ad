"""Following a job until it is finished: a live display in a terminal, lines elsewhere; then its outcome."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from shared.lifecycle import TERMINAL, JobKind, JobState, Phase
from shared.schemas import Job, JobDetail, JobEvaluation, WaitingFor
from trainshed.cli.evaluation_tables import evaluation_tables
from trainshed.cli.exit_codes import EXIT_CODES, ExitCode
from trainshed.cli.formatting import metrics_line, short_id
from trainshed.cli.output import say, show, stdout, while_read, write_json
from trainshed.cli.progress import activity, ended_attempts, waiting_reason
from trainshed.cli.references import if_exists
from trainshed.cli.watching import Round, show_live
from trainshed.client import Client
from trainshed.errors import ClientError

M = TypeVar("M", bound=BaseModel)


def follow_submitted(server: Client, job: Job, *, detach: bool, as_json: bool) -> None:
    """Follow a newly submitted job to its end, or with `detach` only say how to follow it."""
    if detach and as_json:
        write_json(job)
    elif detach:
        typer.echo(f"Job {job.id} is {job.state}. Follow it with `trainshed watch {short_id(job.id)}`.")
        with suppress(ClientError):  # the job is submitted, whatever happens now
            _warn_if_stuck(server.job(job.id))
    else:
        if not as_json:
            typer.echo(f"Job {job.id}")
            _warn_if_stuck(server.job(job.id))
        follow_to_end(server, job.id, as_json=as_json)


def follow_to_end(server: Client, job_id: UUID, *, as_json: bool) -> None:
    """Follow a job, show its outcome, and exit with the code of its final state.

    Ctrl-C ends the command, not the job.
    """
    try:
        with while_read():
            job = server.wait(job_id) if as_json else follow(server, job_id, stdout())
    except KeyboardInterrupt:
        say(f"Detached; the job continues. Follow it again with `trainshed watch {job_id}`.", "yellow")
        raise typer.Exit(ExitCode.DETACHED) from None
    except ClientError:
        if not as_json:
            say(f"The job continues. Follow it again with `trainshed watch {job_id}`.", "yellow")
        raise
    evaluation = evaluation_of(server, job)
    if as_json:
        write_json(with_evaluation(job, evaluation))
    else:
        show_outcome(job, evaluation)
    raise typer.Exit(EXIT_CODES[job.state])


def follow(server: Client, job_id: UUID, console: Console) -> JobDetail:
    """Show a job's progress on the console until it is finished, and return the finished job."""
    if not console.is_terminal:
        return _log(server, job_id, console)
    [job] = show_live(_rounds(server, job_id), console).jobs
    assert isinstance(job, JobDetail)
    return job


def _rounds(server: Client, job_id: UUID) -> Iterator[Round]:
    reported = 0
    for job in server.watch(job_id):
        ended = ended_attempts(job)
        yield Round((job,), lines=ended[reported:])
        reported = len(ended)


def _log(server: Client, job_id: UUID, console: Console) -> JobDetail:
    """Print a line for each ended attempt, phase and epoch of a job, and return the finished job."""
    attempts, epochs, phase = 0, 0, ""
    for job in server.watch(job_id):
        ended, now = ended_attempts(job), ": ".join(filter(None, (activity(job).plain, waiting_reason(job))))
        new_epochs = _epochs(server, job, epochs) if job.progress and job.progress.epoch > epochs else []
        new_phase = [Text(now)] if now != phase and job.state not in TERMINAL else []
        trained = job.phase in (Phase.EVALUATING, Phase.SAVING)
        progress = new_epochs + new_phase if trained else new_phase + new_epochs
        for line in [*ended[attempts:], *progress]:
            console.print(line, soft_wrap=True)
        attempts, epochs, phase = len(ended), epochs + len(new_epochs), now
    return job


def _epochs(server: Client, job: JobDetail, printed: int) -> list[Text]:
    """Return a line for each epoch after the first `printed` epochs."""
    metrics = {metric.name: metric.y for metric in server.metrics(job.id).series}
    total = str(job.progress.epochs if job.progress else "")
    return [
        Text(f"epoch {number:>{len(total)}}/{total}  {metrics_line(dict(zip(metrics, values, strict=True)))}")
        for number, values in enumerate(zip(*metrics.values(), strict=True), start=1)
        if number > printed
    ]


def write_lines(items: Iterable[M], line: Callable[[M], Text], *, as_json: bool, follow: bool) -> int:
    """Write a job's events or log as lines, each as soon as it arrives; with only `as_json`, as one document.

    Ctrl-C ends the command, not the job.

    Returns:
        The number of items written.
    """
    if as_json and not follow:
        listed = list(items)
        write_json(listed)
        return len(listed)
    console, count = stdout(), 0
    try:
        with while_read():
            for item in items:
                count += 1
                if as_json:
                    typer.echo(item.model_dump_json())
                else:
                    console.print(line(item), soft_wrap=True)  # a line stays whole, for grep
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.DETACHED) from None
    return count


def show_outcome(job: JobDetail, evaluation: JobEvaluation | None) -> None:
    """Show a finished job's evaluation, if it has one, and say how the job ended."""
    if evaluation:
        show("", evaluation_tables(evaluation), "")
    if job.state is JobState.FAILED:
        reason = f"{job.error.code}: {job.error.message}" if job.error else "the server gives no reason"
        say(f"Job {job.id} failed: {reason}", "bold red")
    elif job.state is JobState.CANCELLED:
        say(f"Job {job.id} was cancelled.", "magenta")
    else:
        none = "" if evaluation else " It has no evaluation."
        follow_up = f" Show its model with `trainshed model {short_id(job.id)}`."
        shows_model = job.kind is JobKind.TRAIN and job.model_id is not None
        say(f"Job {job.id} succeeded.{none}{follow_up if shows_model else ''}", "green")


def evaluation_of(server: Client, job: Job) -> JobEvaluation | None:
    """Return a job's evaluation if the job has succeeded and has one."""
    return if_exists(lambda: server.evaluation(job.id)) if job.state is JobState.SUCCEEDED else None


def with_evaluation(job: JobDetail, evaluation: JobEvaluation | None) -> dict[str, Any]:
    """Return a job and its evaluation as one JSON document."""
    document = evaluation.model_dump(mode="json") if evaluation else None
    return {**job.model_dump(mode="json"), "evaluation": document}


def _warn_if_stuck(job: JobDetail) -> None:
    """Warn that a job will not start unless a worker is started or the queue is resumed."""
    if job.waiting_for is WaitingFor.NO_WORKER_ONLINE:
        say(f"No worker serves queue `{job.queue}`; the job waits for one (`trainshed worker`).", "yellow")
    elif job.waiting_for is WaitingFor.PAUSED:
        resume = f"`trainshed queues resume {job.queue}`"
        say(f"Queue `{job.queue}` is paused; the job waits until it is resumed ({resume}).", "yellow")
