"""The command line, `trainshed`: submits jobs, follows them, and shows what came out.

Exit codes: 0 done; 1 the job failed, or the server could not be reached or failed; 2 what was asked for
cannot be; 3 the job was cancelled; 130 interrupted while following, and the job goes on.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from shared.lifecycle import TERMINAL
from trainshed.cli import (
    events,
    job_edits,
    jobs,
    keys,
    logs,
    metrics,
    options,
    results,
    run,
    status,
    submit,
    sweeps,
    tables,
    workers,
)
from trainshed.cli.exit_codes import CommandGroup
from trainshed.cli.follow import detailed, evaluation_of, follow_to_end, take
from trainshed.cli.output import say, show, write_json
from trainshed.cli.references import find_job, find_model
from trainshed.errors import UsageError

app = typer.Typer(
    cls=CommandGroup,
    help="Train and evaluate models on a queue of jobs. Start with `trainshed demo`, or `trainshed up`.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 cancelled, 130 interrupted while the job goes on.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(run.up)
app.command()(run.demo)
app.command()(submit.train)
app.command()(submit.evaluate)


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
app.command()(jobs.jobs)


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
    show(tables.job_sheet(found))
    if evaluation:
        show("", tables.evaluation_tables(evaluation))


@app.command()
def watch(
    ctx: typer.Context, job: options.JobReference, url: options.Url = None, as_json: options.Json = False
) -> None:
    """Follow a job to its end; Ctrl-C leaves it running."""
    with options.server(ctx, url) as server:
        follow_to_end(server, find_job(server, job), as_json=as_json)


app.command()(events.events)
app.command()(metrics.metrics)


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


app.command()(job_edits.edit)
app.command()(job_edits.clone)
app.command()(job_edits.delete)
app.add_typer(workers.workers_app, name="workers")
app.add_typer(workers.queues_app, name="queues")
app.command()(results.models)
app.command()(results.predict)
app.command()(results.compare)
app.command()(results.misclassified)
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
            show(tables.model_table(found))
        if download:
            file = output or Path(f"model-{found.id}.{download}")
            _write(file, server.download(found.id, download))
            say(f"Wrote {file}.")


app.command()(logs.logs)
app.add_typer(keys.app, name="keys")
app.command()(run.api)
app.command()(run.worker)
app.command()(run.migrate)


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
