"""The commands that change jobs or copy them: `trainshed cancel`, `retry`, `edit`, `clone`, `delete`."""

from typing import Annotated, Any

import typer

from shared.lifecycle import TERMINAL
from shared.schemas import BatchAction, JobClone, Priority
from trainshed.cli import completion, options, selection
from trainshed.cli.follow import follow_submitted
from trainshed.cli.formatting import short_id
from trainshed.cli.output import confirm, say
from trainshed.cli.references import find_job
from trainshed.cli.watching import watch_many
from trainshed.client import Client
from trainshed.errors import TrainshedApiError, UsageError
from trainshed.operations.fields import JobChanges

NewName = Annotated[str | None, typer.Option("--name", help='New name; "" removes the name.')]
NewTags = Annotated[
    list[str] | None,
    typer.Option("--tag", help='Tag, in place of all current tags; may be repeated; "" for none.'),
]
NewQueue = Annotated[
    str | None, typer.Option("--queue", help="Move it to this queue.", autocompletion=completion.queues)
]
NewPriority = Annotated[Priority | None, typer.Option("--priority", help="New priority.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="FIELD=VALUE",
        help="Replace a value of the specification, such as `epochs=20`; `null` restores its default. May be "
        "repeated.",
    ),
]


def cancel(
    *,
    jobs: selection.References = None,
    tag: selection.Tag = None,
    state: selection.States = None,
    queue: selection.Queue = None,
    sweep: selection.SweepName = None,
    mine: selection.Mine = False,
    yes: selection.Yes = False,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Cancel jobs: queued ones at once, running ones within seconds."""
    if jobs and len(jobs) == 1 and not any((tag, state, queue, sweep, mine)):
        cancelled = server.cancel(find_job(server, jobs[0]))
        now = cancelled.state if cancelled.state in TERMINAL else "being cancelled"
        confirm(cancelled, f"Job {cancelled.id} is {now}.", as_json=as_json)
        return
    filters = selection.Filters(tag, state, queue, sweep, mine)
    _change(server, BatchAction.CANCEL, jobs, filters, yes=yes, as_json=as_json)


def retry(
    *,
    jobs: selection.References = None,
    tag: selection.Tag = None,
    state: selection.States = None,
    queue: selection.Queue = None,
    sweep: selection.SweepName = None,
    mine: selection.Mine = False,
    yes: selection.Yes = False,
    detach: options.Detach = False,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Submit finished jobs again, as new jobs with the same specifications, and follow them.

    Filters choose failed and cancelled jobs, unless --state names others. Several jobs are followed as by
    `trainshed watch`.
    """
    if jobs and len(jobs) == 1 and not any((tag, state, queue, sweep, mine)):
        follow_submitted(server, server.retry(find_job(server, jobs[0])), detach=detach, as_json=as_json)
        return
    filters = selection.Filters(tag, state, queue, sweep, mine)
    _change(server, BatchAction.RETRY, jobs, filters, yes=yes, as_json=as_json, follow=not detach)


def delete(
    *,
    jobs: selection.References = None,
    tag: selection.Tag = None,
    state: selection.States = None,
    queue: selection.Queue = None,
    sweep: selection.SweepName = None,
    mine: selection.Mine = False,
    yes: selection.Yes = False,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Delete finished jobs, with their models. Always asks for confirmation, unless --yes is given."""
    filters = selection.Filters(tag, state, queue, sweep, mine)
    _change(server, BatchAction.DELETE, jobs, filters, yes=yes, as_json=as_json)


def _change(
    server: Client,
    action: BatchAction,
    references: list[str] | None,
    filters: selection.Filters,
    *,
    yes: bool,
    as_json: bool,
    follow: bool = False,
) -> None:
    """Apply an action to all chosen jobs, and exit with the code of the result."""
    chosen = selection.choose(server, action, references, filters)
    if not chosen and not as_json:
        say("No jobs match.")
        return
    if chosen:
        selection.confirm(action, chosen, yes=yes)
    results = selection.apply(server, action, [job.id for job in chosen])
    if references and len(results) == 1 and results[0].problem:
        raise TrainshedApiError(results[0].problem)
    submitted = [result.new_id for result in results if result.new_id]
    code = selection.report(
        action, results, by_filter=not references, as_json=as_json and not (follow and submitted)
    )
    if follow and submitted:
        raise watch_many(server, submitted, as_json=as_json)
    raise typer.Exit(code)


def edit(
    *,
    job: options.JobReference,
    name: NewName = None,
    tag: NewTags = None,
    queue: NewQueue = None,
    priority: NewPriority = None,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Change the name or the tags of a job, and its queue or priority until it starts."""
    changes: JobChanges = {} if name is None else {"name": name or None}
    if tag is not None:
        changes["tags"] = [text for text in tag if text]
    if queue is not None:
        changes["queue"] = queue
    if priority is not None:
        changes["priority"] = priority
    if not changes:
        raise UsageError("there is nothing to change: give --name, --tag, --queue or --priority")
    edited = server.edit(find_job(server, job), **changes)
    message = (
        f"Job {edited.id} has name {edited.name or '(none)'}, tags {', '.join(edited.tags) or '(none)'}, "
        f"queue {edited.queue}, priority {edited.priority}."
    )
    confirm(edited, message, as_json=as_json)


def clone(
    *,
    job: options.JobReference,
    override: Overrides = None,
    name: options.Name = None,
    tags: options.Tags = None,
    queue: Annotated[str | None, typer.Option(help="Queue of the copy.", show_default="the job's")] = None,
    detach: options.Detach = False,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Submit a copy of a job, in any state, with some values replaced, and follow it."""
    changes = options.given(JobClone, locals())
    spec = dict(map(_override, override or ()))
    source = find_job(server, job)
    copy = server.clone(source, **changes, **spec)
    if not as_json:
        say(f"Cloned job {short_id(source)}.")
    follow_submitted(server, copy, detach=detach, as_json=as_json)


def _override(text: str) -> tuple[str, Any]:
    field, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} is not FIELD=VALUE, such as epochs=20")
    return field, options.json_or_text(value)
