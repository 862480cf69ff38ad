"""The command that lists jobs."""

from datetime import datetime
from itertools import islice
from typing import Annotated, Any, Literal

import typer

from shared.lifecycle import JobState
from shared.schemas import JobListQuery, JobOrder
from trainshed.cli import options, tables
from trainshed.cli.output import say, show, write_json
from trainshed.errors import UsageError

_PAGE = 200  # jobs that the server gives at once, at most


def _filter(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, show_default=False, rich_help_panel="Which jobs")


States = Annotated[list[JobState] | None, _filter("In this state; may be given more than once.")]
Kind = Annotated[Literal["train", "evaluate"] | None, _filter("Of this kind.")]
Tag = Annotated[str | None, _filter("With this tag.")]
Queue = Annotated[str | None, _filter("Of this queue.")]
Worker = Annotated[str | None, _filter("That this worker has run, or runs.")]
Name = Annotated[str | None, _filter("With this in their name.")]
After = Annotated[
    str | None, _filter("Submitted then or later, such as `2026-01-31` or `2026-01-31T12:00`.", "--after")
]
Before = Annotated[str | None, _filter("Submitted earlier than then.", "--before")]
Sort = Annotated[JobOrder, typer.Option(help="The order; `-` for descending.")]


def jobs(
    ctx: typer.Context,
    state: States = None,
    kind: Kind = None,
    tag: Tag = None,
    queue: Queue = None,
    worker: Worker = None,
    name: Name = None,
    after: After = None,
    before: Before = None,
    sort: Sort = JobOrder.NEWEST,
    limit: options.Limit = 20,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """List jobs, newest first."""
    filters = {
        "state": state,
        "kind": kind,
        "tag": tag,
        "queue": queue,
        "worker": worker,
        "q": name,
        "created_after": _moment(after),
        "created_before": _moment(before),
    }
    given = {field: value for field, value in filters.items() if value}
    query = JobListQuery.model_validate({**given, "sort": sort})
    with options.server(ctx, url) as server:
        found = list(islice(server.jobs(query, page_size=min(limit, _PAGE)), limit))
    if as_json:
        write_json(found)
    elif found:
        show(tables.job_table(found))
    else:
        say("No such jobs." if given else "No jobs.")


def _moment(text: str | None) -> datetime | None:
    """What people type for a moment, in this host's time zone unless it names another."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is no moment, such as 2026-01-31 or 2026-01-31T12:00") from error
