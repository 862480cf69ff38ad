"""Follows a job to its end: a live bar in a terminal, a line an epoch anywhere else."""

from typing import Any
from uuid import UUID

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from shared.lifecycle import TERMINAL, AttemptOutcome, JobState, Phase
from shared.schemas import Job, JobDetail, JobEvaluation
from trainshed.cli import tables
from trainshed.cli.exit_codes import OF_STATE, ExitCode
from trainshed.cli.output import say, show, stdout, write_json
from trainshed.client import Client

_REFRESH_HZ = 8


def follow(server: Client, job_id: UUID, console: Console) -> JobDetail:
    """Show a job's progress until it is finished.

    Args:
        server: where the job is.
        job_id: of the job.
        console: where it is shown; one that is no terminal gets plain lines.

    Returns:
        the finished job.
    """
    if console.is_terminal:
        return _follow_live(server, job_id, console)
    return _follow_in_lines(server, job_id, console)


def _follow_live(server: Client, job_id: UUID, console: Console) -> JobDetail:
    told = 0
    with Live(console=console, refresh_per_second=_REFRESH_HZ) as live:
        for job in server.watch(job_id):
            setbacks = _setbacks(job)
            for line in setbacks[told:]:
                live.console.print(line)
            told = len(setbacks)
            live.update(tables.progress(job))
    return job


def _follow_in_lines(server: Client, job_id: UUID, console: Console) -> JobDetail:
    told, shown, doing = 0, 0, ""
    for job in server.watch(job_id):
        setbacks, now = _setbacks(job), tables.activity(job).plain
        epochs = _epochs(server, job, shown) if job.progress and job.progress.epoch > shown else []
        news = [Text(now)] if now != doing and job.state not in TERMINAL else []
        trained = job.phase in (Phase.EVALUATING, Phase.SAVING)
        for line in [*setbacks[told:], *(epochs + news if trained else news + epochs)]:
            console.print(line, soft_wrap=True)
        told, shown, doing = len(setbacks), shown + len(epochs), now
    return job


def _epochs(server: Client, job: JobDetail, shown: int) -> list[Text]:
    """A line for each epoch after the first `shown` ones."""
    series = {one.name: one.y for one in server.metrics(job.id).series}
    total = str(job.progress.epochs if job.progress else "")
    return [
        Text(
            f"epoch {number:>{len(total)}}/{total}  {tables.numbers(dict(zip(series, values, strict=True)))}"
        )
        for number, values in enumerate(zip(*series.values(), strict=True), start=1)
        if number > shown
    ]


def _setbacks(job: JobDetail) -> list[Text]:
    """What to say of each attempt that ended, and was not the job's end."""
    return [
        tables.setback(attempt)
        for attempt in job.attempts
        if attempt.outcome in (AttemptOutcome.FAILED, AttemptOutcome.LOST, AttemptOutcome.RELEASED)
        and not (attempt.number == job.attempt and job.state in TERMINAL)
    ]


_ALIVE_S = 60.0  # a worker that was not heard of for longer is taken for lost


def take(server: Client, job: Job, *, detach: bool, as_json: bool) -> None:
    """Go on after a job was submitted: follow it, or say how to."""
    if not (detach or as_json):
        typer.echo(f"Job {job.id}")
        _warn_if_nobody_serves(server, job.queue)
    if not detach:
        follow_to_end(server, job.id, as_json=as_json)
    elif as_json:
        write_json(job)
    else:
        typer.echo(f"Job {job.id} is {job.state}. Follow it with `trainshed watch {tables.short_id(job)}`.")


def follow_to_end(server: Client, job_id: UUID, *, as_json: bool) -> None:
    """Follow a job, show what came out, and end the program with the exit code of its state.

    Ctrl-C ends the program and not the job.
    """
    try:
        job = server.wait(job_id) if as_json else follow(server, job_id, stdout())
    except KeyboardInterrupt:
        say(f"Detached; the job goes on. Follow it again with `trainshed watch {job_id}`.", "yellow")
        raise typer.Exit(ExitCode.DETACHED) from None
    evaluation = evaluation_of(server, job)
    if as_json:
        write_json(detailed(job, evaluation))
    else:
        conclude(job, evaluation)
    raise typer.Exit(OF_STATE[job.state])


def conclude(job: JobDetail, evaluation: JobEvaluation | None) -> None:
    """Say how a finished job ended, after its evaluation if there is one."""
    if evaluation:
        show("", tables.evaluation_tables(evaluation), "")
    if job.state is JobState.FAILED:
        why = f"{job.error.code}: {job.error.message}" if job.error else "the server does not say why"
        say(f"Job {job.id} failed: {why}", "bold red")
    elif job.state is JobState.CANCELLED:
        say(f"Job {job.id} was cancelled.", "magenta")
    else:
        model = f" Its model: `trainshed model {tables.short_id(job)}`." if job.kind == "train" else ""
        say(f"Job {job.id} succeeded.{model}", "green")


def evaluation_of(server: Client, job: Job) -> JobEvaluation | None:
    """A job's evaluation, if it has succeeded."""
    return server.evaluation(job.id) if job.state is JobState.SUCCEEDED else None


def detailed(job: JobDetail, evaluation: JobEvaluation | None) -> dict[str, Any]:
    """A job and its evaluation in one document."""
    measured = evaluation.model_dump(mode="json") if evaluation else None
    return {**job.model_dump(mode="json"), "evaluation": measured}


def _warn_if_nobody_serves(server: Client, queue: str) -> None:
    alive = (one for one in server.workers() if one.state == "online" and one.heartbeat_age_s < _ALIVE_S)
    if not any(queue in worker.queues for worker in alive):
        say(
            f"No worker serves the queue `{queue}` now; the job waits for one (`trainshed worker`).", "yellow"
        )
