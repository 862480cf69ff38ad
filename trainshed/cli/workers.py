"""The commands about workers and queues: `trainshed workers`, `trainshed queues`."""

from itertools import islice
from typing import Annotated

import typer

from trainshed.cli import completion, options
from trainshed.cli.output import confirm, write_result
from trainshed.cli.tables import history_table, queue_table, share_table, worker_table

workers_app = typer.Typer(invoke_without_command=True)
queues_app = typer.Typer(invoke_without_command=True)

WorkerId = Annotated[
    str,
    typer.Argument(
        metavar="WORKER",
        help="The worker's id, as listed by `workers`.",
        autocompletion=completion.workers,
    ),
]
QueueName = Annotated[
    str,
    typer.Argument(
        metavar="QUEUE", help="The queue's name, as listed by `queues`.", autocompletion=completion.queues
    ),
]
AtMost = Annotated[
    str,
    typer.Argument(
        metavar="N|none",
        help="How many may run at the same time; `none` removes the limit.",
        parser=options.at_most,
    ),
]


@workers_app.callback()
def workers(ctx: typer.Context, server: options.Server, as_json: options.Json = False) -> None:
    """List workers, the last seen first; show the history of one, or drain it."""
    if not ctx.invoked_subcommand:
        none = "No worker has registered yet: start one with `trainshed worker`."
        write_result(server.workers(), worker_table, as_json=as_json, if_empty=none)


@workers_app.command()
def history(
    *,
    worker: WorkerId,
    limit: options.Limit = 20,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """List what a worker has run, the last started first."""
    attempts = list(islice(server.worker_attempts(worker), limit))
    write_result(attempts, history_table, as_json=as_json, if_empty=f"Worker {worker} has run nothing yet.")


@workers_app.command()
def drain(worker: WorkerId, server: options.Server, as_json: options.Json = False) -> None:
    """Let a worker finish its running jobs and take no more."""
    drained = server.drain(worker)
    running = f"{drained.busy_slots} running job{'' if drained.busy_slots == 1 else 's'}"
    confirm(drained, f"Worker {worker} is {drained.state}, with {running}.", as_json=as_json)


@workers_app.command()
def undrain(worker: WorkerId, server: options.Server, as_json: options.Json = False) -> None:
    """Let a drained worker take jobs again."""
    undrained = server.undrain(worker)
    confirm(undrained, f"Worker {worker} is {undrained.state}.", as_json=as_json)


@queues_app.callback()
def queues(ctx: typer.Context, server: options.Server, as_json: options.Json = False) -> None:
    """List queues and whose jobs they hold; pause a queue, or limit how many of its jobs run."""
    if not ctx.invoked_subcommand:
        write_result(server.queues(), queue_table, as_json=as_json)


@queues_app.command()
def shares(queue: QueueName, server: options.Server, as_json: options.Json = False) -> None:
    """List whose jobs wait in a queue and run; shares take turns."""
    write_result(server.shares(queue), share_table, as_json=as_json, if_empty="No jobs wait or run.")


@queues_app.command()
def pause(queue: QueueName, server: options.Server, as_json: options.Json = False) -> None:
    """Stop starting jobs of a queue; running jobs continue."""
    paused = server.pause(queue)
    waiting = sum(paused.queued.values())
    message = f"Queue {queue} is paused, with {waiting:,} queued job{'' if waiting == 1 else 's'}."
    confirm(paused, message, as_json=as_json)


@queues_app.command()
def resume(queue: QueueName, server: options.Server, as_json: options.Json = False) -> None:
    """Start jobs of a paused queue again."""
    resumed = server.resume(queue)
    confirm(resumed, f"Queue {queue} is resumed.", as_json=as_json)


@queues_app.command()
def limit(
    *, queue: QueueName, max_running: AtMost, server: options.Server, as_json: options.Json = False
) -> None:
    """Limit how many jobs of a queue run at the same time; running jobs continue."""
    limited = server.limit_queue(queue, None if max_running == options.NO_LIMIT else int(max_running))
    at_most = (
        f"At most {max_running} of its jobs run" if limited.max_running else "Any number of its jobs run"
    )
    confirm(
        limited, f"Queue {queue}: {at_most} at the same time; {limited.running:,} run now.", as_json=as_json
    )
