"""The command that tells what has happened to a job: `trainshed events`."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from client import options
from client.output import say, write_json
from client.references import find_job
from client.render import numbers
from shared.schemas import JobEvent

After = Annotated[int, typer.Option(min=0, help="Only events with a greater number.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is finished.")]

_TOLD = ("loss", "accuracy", "val_loss", "val_accuracy")


def events(
    ctx: typer.Context,
    job: options.JobReference,
    after: After = 0,
    follow: Follow = False,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """List what has happened to a job, oldest first; with --follow --json, one JSON document a line."""
    with options.server(ctx, url) as server:
        job_id = find_job(server, job)
        if as_json and not follow:
            write_json(list(server.events(job_id, after=after)))
            return
        for event in server.stream(job_id, after=after) if follow else server.events(job_id, after=after):
            typer.echo(event.model_dump_json() if as_json else describe(event))
    if follow and not as_json:
        say("The job is finished.")


def describe(event: JobEvent) -> str:
    """An event in one line."""
    at = event.at.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    return f"{event.seq:>4}  {at}  {event.type:16} {_details(event.data)}".rstrip()


def _details(data: Mapping[str, Any]) -> str:
    if epochs := data.get("epochs"):
        last = epochs[-1]
        return f"epoch {last['epoch'] + 1}  {numbers({name: last[name] for name in _TOLD})}"
    words = {name: " ".join(str(value).split()) for name, value in data.items()}
    return "  ".join(f"{name} {value}" for name, value in words.items())
