"""The command line, `trainshed`: its commands, assembled.

Exit codes: 0 done; 1 the job failed, or the server could not be reached or failed; 2 an invalid option, value
or reference; 3 the job was cancelled; 130 interrupted while following a job, which continues.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from trainshed.cli import (
    datasets,
    doctor,
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
    webhooks,
    workers,
)
from trainshed.cli.exit_codes import CommandGroup

app = typer.Typer(
    cls=CommandGroup,
    help="Train and evaluate models on a queue of jobs. Start with `trainshed demo` or `trainshed up`.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 cancelled, 130 interrupted while the job continues.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _main(
    ctx: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    url: options.Url = None,
    api_key: options.ApiKey = None,
) -> None:
    ctx.meta[options.URL], ctx.meta[options.API_KEY] = url, api_key
    if show_version:
        typer.echo(f"trainshed {version('trainshed')}")


_COMMANDS: tuple[Callable[..., None], ...] = (
    *(run.up, run.demo),
    *(submit.train, submit.evaluate),
    *(status.status, jobs.jobs, jobs.show, jobs.watch, events.events, metrics.metrics, logs.logs),
    *(job_edits.cancel, job_edits.retry, job_edits.edit, job_edits.clone, job_edits.delete),
    *(results.models, results.model, results.predict, results.compare, results.misclassified),
    datasets.datasets,
    *(run.api, run.worker, run.migrate, doctor.doctor),
)
for command in _COMMANDS:
    app.command()(command)
app.command("open")(jobs.open_job)  # `open` is a built-in function of Python
app.add_typer(sweeps.app, name="sweep")
app.add_typer(workers.workers_app, name="workers")
app.add_typer(workers.queues_app, name="queues")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")


def main() -> None:
    """Run the command that the arguments name."""
    app(prog_name="trainshed")  # the same name if Python runs this module


if __name__ == "__main__":
    main()
