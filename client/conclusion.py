"""From a submitted job to the end of the program: follow it, show what came out, say how it ended."""

from typing import Any
from uuid import UUID

import typer

from client import render
from client.exits import OF_STATE, ExitCode
from client.follow import follow
from client.output import say, show, stdout, write_json
from client.trainshed import Trainshed
from shared.lifecycle import JobState
from shared.schemas import Job, JobDetail, JobEvaluation

_ALIVE_S = 60.0  # a worker that was not heard of for longer is taken for lost


def take(server: Trainshed, job: Job, *, detach: bool, as_json: bool) -> None:
    """Go on after a job was submitted: follow it, or say how to."""
    if not (detach or as_json):
        typer.echo(f"Job {job.id}")
        _warn_if_nobody_serves(server, job.queue)
    if not detach:
        follow_to_end(server, job.id, as_json=as_json)
    elif as_json:
        write_json(job)
    else:
        typer.echo(f"Job {job.id} is {job.state}. Follow it with `trainshed watch {render.short_id(job)}`.")


def follow_to_end(server: Trainshed, job_id: UUID, *, as_json: bool) -> None:
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
        show("", render.evaluation_tables(evaluation), "")
    if job.state is JobState.FAILED:
        why = f"{job.error.code}: {job.error.message}" if job.error else "the server does not say why"
        say(f"Job {job.id} failed: {why}", "bold red")
    elif job.state is JobState.CANCELLED:
        say(f"Job {job.id} was cancelled.", "magenta")
    else:
        model = f" Its model: `trainshed model {render.short_id(job)}`." if job.kind == "train" else ""
        say(f"Job {job.id} succeeded.{model}", "green")


def evaluation_of(server: Trainshed, job: Job) -> JobEvaluation | None:
    """A job's evaluation, if it has succeeded."""
    return server.evaluation(job.id) if job.state is JobState.SUCCEEDED else None


def detailed(job: JobDetail, evaluation: JobEvaluation | None) -> dict[str, Any]:
    """A job and its evaluation in one document."""
    measured = evaluation.model_dump(mode="json") if evaluation else None
    return {**job.model_dump(mode="json"), "evaluation": measured}


def _warn_if_nobody_serves(server: Trainshed, queue: str) -> None:
    alive = (one for one in server.workers() if one.state == "online" and one.heartbeat_age_s < _ALIVE_S)
    if not any(queue in worker.queues for worker in alive):
        say(
            f"No worker serves the queue `{queue}` now; the job waits for one (`trainshed worker`).", "yellow"
        )
