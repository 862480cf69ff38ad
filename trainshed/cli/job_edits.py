"""The commands that change jobs or copy them: `trainshed cancel`, `retry`, `edit`, `clone`, `delete`."""

from typing import Annotated, Any

import typer

from shared.lifecycle import TERMINAL
from shared.schemas import JobClone
from trainshed.cli import options
from trainshed.cli.follow import follow_submitted
from trainshed.cli.formatting import short_id
from trainshed.cli.output import confirm, say, write_json
from trainshed.cli.references import find_job
from trainshed.errors import UsageError
from trainshed.operations.fields import JobChanges

NewName = Annotated[str | None, typer.Option("--name", help='New name; "" removes the name.')]
NewTags = Annotated[
    list[str] | None,
    typer.Option("--tag", help='Tag, in place of all current tags; may be repeated; "" for none.'),
]
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


def cancel(job: options.JobReference, server: options.Server, as_json: options.Json = False) -> None:
    """Cancel a job: at once if it is queued, within seconds if it is running."""
    cancelled = server.cancel(find_job(server, job))
    state = cancelled.state if cancelled.state in TERMINAL else "being cancelled"
    confirm(cancelled, f"Job {cancelled.id} is {state}.", as_json=as_json)


def retry(
    *,
    job: options.JobReference,
    detach: options.Detach = False,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Submit a finished job again, as a new job with the same specification, and follow it."""
    follow_submitted(server, server.retry(find_job(server, job)), detach=detach, as_json=as_json)


def edit(
    *,
    job: options.JobReference,
    name: NewName = None,
    tag: NewTags = None,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """Change the name or the tags of a job, in any state."""
    changes: JobChanges = {} if name is None else {"name": name or None}
    if tag is not None:
        changes["tags"] = [text for text in tag if text]
    if not changes:
        raise UsageError("there is nothing to change: give --name or --tag")
    edited = server.edit(find_job(server, job), **changes)
    message = (
        f"Job {edited.id} has name {edited.name or '(none)'}, tags {', '.join(edited.tags) or '(none)'}."
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


def delete(jobs: options.JobReferences, server: options.Server, as_json: options.Json = False) -> None:
    """Delete finished jobs, with their models."""
    deleted = [find_job(server, job) for job in jobs]
    for job_id in deleted:
        server.delete(job_id)
        if not as_json:
            say(f"Deleted job {job_id}.")
    if as_json:
        write_json({"deleted": [str(job_id) for job_id in deleted]})


def _override(text: str) -> tuple[str, Any]:
    field, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} is not FIELD=VALUE, such as epochs=20")
    return field, options.json_or_text(value)
