"""The command that tells what has happened to a job: `trainshed events`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from uuid import UUID

import typer

from shared.schemas import JobEvent
from trainshed.cli import options
from trainshed.cli.exit_codes import ExitCode
from trainshed.cli.output import say, write_json
from trainshed.cli.references import find_job
from trainshed.cli.tables import SHORT_ID, numbers
from trainshed.client import Client
from trainshed.errors import UsageError

Job = Annotated[
    str | None,
    typer.Argument(metavar="[JOB]", help="As for `show`; none for all jobs.", show_default=False),
]
After = Annotated[int, typer.Option(min=0, help="Only events with a greater number.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is finished.")]

_TOLD = ("loss", "accuracy", "val_loss", "val_accuracy")


def events(
    ctx: typer.Context,
    job: Job = None,
    after: After = 0,
    follow: Follow = False,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """List what has happened to a job, oldest first; with --follow --json, one JSON document a line.

    With --follow and no job, everything that happens from now on, to any of them.
    """
    if job is None and (after or not follow):
        raise UsageError("which job? Name one, or give --follow alone to see what happens to all of them")
    with options.server(ctx, url) as server:
        job_id = find_job(server, job) if job else None
        if as_json and not follow and job_id:
            write_json(list(server.events(job_id, after=after)))
            return
        try:
            for event in _told(server, job_id, after, follow):
                typer.echo(event.model_dump_json() if as_json else describe(event, named=job_id is None))
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.DETACHED) from None
    if follow and not as_json:
        say("The job is finished.")


def _told(server: Client, job_id: UUID | None, after: int, follow: bool) -> Iterator[JobEvent]:
    if job_id is None:
        return server.stream_all()
    return server.stream(job_id, after=after) if follow else server.events(job_id, after=after)


def describe(event: JobEvent, *, named: bool = False) -> str:
    """An event in one line; with the end of its job's id if that is to be named."""
    at = event.at.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    job = f"{str(event.job_id)[-SHORT_ID:]}  " if named else ""
    return f"{job}{event.seq:>4}  {at}  {event.type:16} {_details(event.data)}".rstrip()


def _details(data: Mapping[str, Any]) -> str:
    if epochs := data.get("epochs"):
        last = epochs[-1]
        return f"epoch {last['epoch'] + 1}  {numbers({name: last[name] for name in _TOLD})}"
    words = {name: " ".join(str(value).split()) for name, value in data.items()}
    return "  ".join(f"{name} {value}" for name, value in words.items())
