"""The command that lists or follows the events of jobs: `trainshed events`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.text import Text

from shared.lifecycle import EventType
from shared.schemas import JobEvent
from trainshed.cli import options
from trainshed.cli.follow import write_lines
from trainshed.cli.formatting import decimal, metrics_line, millisecond, printable, short_id
from trainshed.cli.output import say
from trainshed.cli.references import find_job
from trainshed.errors import UsageError

Job = Annotated[str | None, typer.Argument(metavar="[JOB]", help="A job, as for `show`; default: all jobs.")]
After = Annotated[int, typer.Option(min=0, help="Only events with a greater number.")]


def events(
    *,
    job: Job = None,
    after: After = 0,
    follow: options.Follow = False,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """List a job's events, oldest first; with --follow --json, one JSON document per line.

    With --follow and without a job: the events of all jobs, from now on.
    """
    if job is None and (after or not follow):
        raise UsageError("which job? Name a job, or give only --follow for the events of all jobs")
    job_id = find_job(server, job) if job else None
    if job_id is None:
        read = server.stream_all()
    else:
        read = server.stream(job_id, after=after) if follow else server.events(job_id, after=after)
    line = partial(describe, with_job=job_id is None)
    write_lines(read, line, as_json=as_json, follow=follow)
    if follow and not as_json:
        say("The job is finished.")


def describe(event: JobEvent, *, with_job: bool = False) -> Text:
    """Return an event as a line, progress as several; with `with_job`, each begins with the id's end."""
    job = f"{short_id(event.job_id)}  " if with_job else ""
    is_progress = event.type is EventType.PROGRESS
    happened = _progress(event.data) if is_progress else [(event.at, _details(event.data))]
    lines = (
        printable(f"{job}{event.seq:>4}  {millisecond(at)}  {event.type:16} {details}".rstrip())
        for at, details in happened
    )
    return Text("\n".join(lines))


def _progress(data: Mapping[str, Any]) -> Iterator[tuple[datetime, str]]:
    """Yield each phase, and the epochs between two phases together, with the time of the last epoch."""
    reached = sorted([*data["phases"], *data["epochs"]], key=lambda each: str(each["at"]))
    for phase, group in groupby(reached, lambda each: each.get("phase")):
        together = list(group)
        yield datetime.fromisoformat(together[-1]["at"]), phase or _epochs(together)


def _epochs(epochs: Sequence[Mapping[str, Any]]) -> str:
    # epochs are shown to people from 1
    first, last = epochs[0]["epoch"] + 1, epochs[-1]["epoch"] + 1
    recorded = f"epoch {last}" if first == last else f"epochs {first} to {last}; the last:"
    return f"{recorded}  {metrics_line(epochs[-1]['values'])}"


def _details(data: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {_value(value)}" for name, value in data.items())


def _value(value: object) -> str:
    if isinstance(value, dict) and "name" in value:  # the actor
        value = value["name"]
    return decimal(value) if isinstance(value, float) else " ".join(str(value).split())
