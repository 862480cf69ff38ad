"""The commands that read jobs: `trainshed jobs`, `show`, `watch`."""

import webbrowser
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from shared.lifecycle import JobKind, JobState
from shared.schemas import NEWEST_FIRST
from trainshed.cli import completion, options, output
from trainshed.cli.evaluation_tables import evaluation_tables
from trainshed.cli.follow import evaluation_of, follow_to_end, with_evaluation
from trainshed.cli.references import find_job
from trainshed.cli.tables import job_details, job_table
from trainshed.cli.watching import watch_many
from trainshed.operations.base import LAST

_MAX_PAGE_SIZE = 200  # the server's limit
_BY_TIME = ("created_at", "duration")  # orders that are not by a metric


def _filter(text: str, autocompletion: Callable[..., Any] | None = None) -> Any:
    return typer.Option(help=text, rich_help_panel="Filters", autocompletion=autocompletion)


States = Annotated[list[JobState] | None, _filter("Jobs in this state; may be repeated.")]
Kind = Annotated[JobKind | None, _filter("Jobs of this kind.")]
Tag = Annotated[str | None, _filter("Jobs with this tag.")]
Queue = Annotated[str | None, _filter("Jobs of this queue.", completion.queues)]
Worker = Annotated[str | None, _filter("Jobs that this worker has run, or is running.", completion.workers)]
Name = Annotated[str | None, _filter("Jobs whose name contains this text.")]
After = Annotated[
    str | None, _filter("Jobs submitted at or after this time: `2026-01-31` or `2026-01-31T12:00`.")
]
Before = Annotated[str | None, _filter("Jobs submitted before this time.")]
Sort = Annotated[
    str,
    typer.Option(help="Order: `created_at`, `duration` or a metric; `-` is descending."),
]


def jobs(
    *,
    state: States = None,
    kind: Kind = None,
    tag: Tag = None,
    queue: Queue = None,
    worker: Worker = None,
    name: Name = None,
    after: After = None,
    before: Before = None,
    mine: options.Mine = False,
    submitted_by: options.SubmittedBy = None,
    sort: Sort = NEWEST_FIRST,
    limit: options.Limit = 20,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """List jobs, newest first."""
    filters: dict[str, Any] = {
        "state": state,
        "kind": kind,
        "tag": tag,
        "queue": queue,
        "worker": worker,
        "q": name,
        "created_after": after and options.time_of(after),
        "created_before": before and options.time_of(before),
        "submitted_by": options.whose(submitted_by, mine=mine),
    }
    given = {field: value for field, value in filters.items() if value}
    matches = server.jobs(limit=limit, page_size=_MAX_PAGE_SIZE, sort=sort, **given).to_list()
    none = "No jobs match." if given else "No jobs."
    by = sort.removeprefix("-")
    table = job_table if by in _BY_TIME else partial(job_table, shown_metric=by)
    output.write_result(matches, table, as_json=as_json, if_empty=none)


def show(job: options.JobReference, server: options.Server, as_json: options.Json = False) -> None:
    """Show a job: its specification, progress and attempts, and its evaluation."""
    detail = server.job(find_job(server, job))
    evaluation = evaluation_of(server, detail)
    if as_json:
        output.write_json(with_evaluation(detail, evaluation))
        return
    output.show(job_details(detail))
    if evaluation:
        output.show("", evaluation_tables(evaluation))
    elif detail.state is JobState.SUCCEEDED:
        output.show("", "The job has no evaluation.")


def watch(
    jobs: options.AnyJobReferences = None, *, server: options.Server, as_json: options.Json = False
) -> None:
    """Follow jobs until they are finished, or without any all that run and wait; Ctrl-C leaves them running.

    With several jobs or none, --json writes a job on a line at each change.
    """
    ids = list(dict.fromkeys(find_job(server, job) for job in jobs or ()))
    if len(ids) == 1:
        follow_to_end(server, ids[0], as_json=as_json)
    raise watch_many(server, ids, as_json=as_json)


def open_job(
    job: options.JobReference = LAST, *, server: options.Server, as_json: options.Json = False
) -> None:
    """Open a job's page in the browser, and print its address."""
    address = f"{server.url}/jobs/{find_job(server, job)}"
    if as_json:
        output.write_json({"url": address})
    else:
        typer.echo(address)
    if not webbrowser.open(address):
        output.say("There is no browser here: open the address above in one.", "dim")
