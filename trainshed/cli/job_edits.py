"""The commands that rename, delete and clone a job."""

import json
from typing import Annotated, Any

import typer

from shared.schemas import JobClone, JobPatch
from trainshed.cli import options, tables
from trainshed.cli.follow import take
from trainshed.cli.output import say, write_json
from trainshed.cli.references import find_job
from trainshed.errors import UsageError

Jobs = Annotated[
    list[str],
    typer.Argument(
        metavar="JOB...", help="Each a job's id, the end of its id, or `last`.", show_default=False
    ),
]
NewName = Annotated[str | None, typer.Option("--name", help='Its new name; "" takes its name away.')]
NewTags = Annotated[
    list[str] | None,
    typer.Option("--tag", help='A tag instead of those it has; may be given more than once; "" for none.'),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="FIELD=VALUE",
        help="Another value in its specification, such as `epochs=20`; `null` has it drawn, or taken from "
        "the dataset, anew. May be given more than once.",
        show_default=False,
    ),
]


def edit(
    ctx: typer.Context,
    job: options.JobReference,
    name: NewName = None,
    tag: NewTags = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Give a job, also one that is over, another name or other tags."""
    changes: dict[str, Any] = {} if name is None else {"name": name or None}
    if tag is not None:
        changes["tags"] = [one for one in tag if one]
    if not changes:
        raise UsageError("there is nothing to change: give --name or --tag")
    with options.server(ctx, url) as server:
        edited = server.edit(find_job(server, job), JobPatch.model_validate(changes))
    if as_json:
        write_json(edited)
    else:
        say(f"Job {edited.id} is {edited.name or 'nameless'}, tags: {', '.join(edited.tags) or 'none'}.")


def delete(ctx: typer.Context, jobs: Jobs, url: options.Url = None, as_json: options.Json = False) -> None:
    """Delete finished jobs, with their models."""
    with options.server(ctx, url) as server:
        deleted = [find_job(server, job) for job in jobs]
        for job_id in deleted:
            server.delete(job_id)
            if not as_json:
                say(f"Job {job_id} is deleted.")
    if as_json:
        write_json({"deleted": [str(job_id) for job_id in deleted]})


def clone(
    ctx: typer.Context,
    job: options.JobReference,
    override: Overrides = None,
    name: options.Name = None,
    tag: options.Tag = None,
    queue: Annotated[str | None, typer.Option(help="Which workers may take it.")] = None,
    detach: options.Detach = False,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Submit a job again with some things changed, whatever its state, and follow it."""
    changes = options.given(name=name, tags=tag, queue=queue)
    spec = dict(map(_override, override or ()))
    with options.server(ctx, url) as server:
        source = find_job(server, job)
        made = server.clone(source, JobClone.model_validate({**changes, "spec": spec}))
        if not as_json:
            say(f"A clone of job {str(source)[-tables.SHORT_ID :]}.")
        take(server, made, detach=detach, as_json=as_json)


def _override(text: str) -> tuple[str, Any]:
    field, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} is not FIELD=VALUE, such as epochs=20")
    try:
        return field, json.loads(value)
    except ValueError:  # a word, such as adam
        return field, value
