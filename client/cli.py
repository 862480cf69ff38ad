"""The command line, `trainshed`: submits jobs, follows them, and shows what came out.

Exit codes: 0 done; 1 the job failed, or the server could not be reached or failed; 2 what was asked for
cannot be; 3 the job was cancelled; 130 interrupted while following, and the job goes on.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from client import (
    capacity,
    curves,
    edits,
    findings,
    history,
    job_logs,
    keys,
    listing,
    options,
    render,
    serving,
    status,
    submission,
    sweeps,
)
from client.conclusion import detailed, evaluation_of, follow_to_end, take
from client.errors import UsageError
from client.exits import CommandGroup
from client.output import say, show, write_json
from client.references import find_job, find_model
from shared.lifecycle import TERMINAL

app = typer.Typer(
    cls=CommandGroup,
    help="Train and evaluate models on a queue of jobs. Start with `trainshed demo`, or `trainshed up`.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 cancelled, 130 interrupted while the job goes on.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(serving.up)
app.command()(serving.demo)
app.command()(submission.train)
app.command()(submission.evaluate)


@app.callback(invoke_without_command=True)
def _main(
    ctx: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    api_key: options.ApiKey = None,
) -> None:
    ctx.meta[options.API_KEY] = api_key
    if show_version:
        typer.echo(f"trainshed {version('trainshed')}")


app.command()(status.status)
app.command()(listing.jobs)


@app.command(name="show")
def show_job(
    ctx: typer.Context, job: options.JobReference, url: options.Url = None, as_json: options.Json = False
) -> None:
    """Show a job: what was asked for, how it went, and its evaluation."""
    with options.server(ctx, url) as server:
        found = server.job(find_job(server, job))
        evaluation = evaluation_of(server, found)
    if as_json:
        write_json(detailed(found, evaluation))
        return
    show(render.job_sheet(found))
    if evaluation:
        show("", render.evaluation_tables(evaluation))


@app.command()
def watch(
    ctx: typer.Context, job: options.JobReference, url: options.Url = None, as_json: options.Json = False
) -> None:
    """Follow a job to its end; Ctrl-C leaves it running."""
    with options.server(ctx, url) as server:
        follow_to_end(server, find_job(server, job), as_json=as_json)


app.command()(history.events)
app.command()(curves.metrics)


@app.command()
def cancel(
    ctx: typer.Context, job: options.JobReference, url: options.Url = None, as_json: options.Json = False
) -> None:
    """Cancel a job: at once while it is queued, within seconds while it runs."""
    with options.server(ctx, url) as server:
        cancelled = server.cancel(find_job(server, job))
    if as_json:
        write_json(cancelled)
    else:
        over = cancelled.state in TERMINAL
        say(f"Job {cancelled.id} is {cancelled.state if over else 'being cancelled'}.")


@app.command()
def retry(
    ctx: typer.Context,
    job: options.JobReference,
    detach: options.Detach = False,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Submit a finished job again, as a new one with the same specification, and follow it."""
    with options.server(ctx, url) as server:
        take(server, server.retry(find_job(server, job)), detach=detach, as_json=as_json)


app.command()(edits.edit)
app.command()(edits.clone)
app.command()(edits.delete)
app.add_typer(capacity.workers_app, name="workers")
app.add_typer(capacity.queues_app, name="queues")
app.command()(findings.models)
app.command()(findings.predict)
app.command()(findings.compare)
app.command()(findings.misclassified)
app.add_typer(sweeps.app, name="sweep")


@app.command()
def model(
    ctx: typer.Context,
    model: options.ModelReference,
    alias: options.AliasName = None,
    description: options.Description = None,
    download: options.Download = None,
    output: options.Output = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Show a trained model's layers; name it, describe it, download it. --alias "" takes its name away."""
    if output and not download:
        raise UsageError("--output needs --download keras or --download onnx")
    with options.server(ctx, url) as server:
        found = server.model(find_model(server, model))
        if changes := options.changes_of_model(alias, description):
            found = server.change_model(found.id, changes)
        if as_json:
            write_json(found)
        elif not download:
            show(render.model_table(found))
        if download:
            file = output or Path(f"model-{found.id}.{download}")
            _write(file, server.download(found.id, download))
            say(f"Wrote {file}.")


app.command()(job_logs.logs)
app.add_typer(keys.app, name="keys")
app.command()(serving.api)
app.command()(serving.worker)
app.command()(serving.migrate)


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error


def main() -> None:
    """Run the command that the arguments name."""
    app()


if __name__ == "__main__":
    main()
