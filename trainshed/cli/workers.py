"""The commands about workers and queues: `trainshed workers`, `trainshed queues`."""

from collections.abc import Iterable
from itertools import islice
from typing import Annotated

import typer

from shared.lifecycle import WorkerState
from shared.schemas import Worker
from shared.texts import advice
from trainshed.cli import completion, options
from trainshed.cli.output import confirm, write_result
from trainshed.cli.worker_tables import history_table, queue_table, tenant_table, worker_table
from trainshed.client import Client
from trainshed.errors import UsageError

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
def workers(
    *,
    ctx: typer.Context,
    with_stopped: Annotated[bool, typer.Option("--all", help="List also workers that have stopped.")] = False,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """List workers, the last seen first; show the history of one, or drain it."""
    if ctx.invoked_subcommand:
        return
    known = server.workers()
    listed = known if with_stopped else not_stopped(known)
    none = "No worker runs: start one with `trainshed worker`."
    if known:
        none += " `trainshed workers --all` lists those that have stopped."
    write_result(listed, worker_table, as_json=as_json, if_empty=none)


def not_stopped(workers: Iterable[Worker]) -> tuple[Worker, ...]:
    """Return the workers that have not been stopped; those that are lost remain."""
    return tuple(worker for worker in workers if worker.state is not WorkerState.STOPPED)


@workers_app.command()
def history(
    *,
    worker: WorkerId,
    limit: options.Limit = 20,
    server: options.Server,
    as_json: options.Json = False,
) -> None:
    """List a worker's attempts, the most recent first."""
    attempts = list(islice(server.worker_attempts(worker), limit))
    write_result(attempts, history_table, as_json=as_json, if_empty=f"Worker {worker} has run nothing yet.")


@workers_app.command()
def drain(worker: WorkerId, server: options.Server, as_json: options.Json = False) -> None:
    """Let a worker finish its running jobs and take no more."""
    drained = server.drain(worker)
    busy = drained.busy_slots
    state = (
        f"draining: it finishes {busy} running job{'' if busy == 1 else 's'}"
        if busy
        else "drained: safe to stop"
    )
    confirm(drained, f"Worker {worker} is {state}.", as_json=as_json)


@workers_app.command()
def undrain(worker: WorkerId, server: options.Server, as_json: options.Json = False) -> None:
    """Let a drained worker take jobs again."""
    undrained = server.undrain(worker)
    confirm(undrained, f"Worker {worker} is {undrained.state}.", as_json=as_json)


@queues_app.callback()
def queues(ctx: typer.Context, server: options.Server, as_json: options.Json = False) -> None:
    """List queues and whose jobs they hold; pause a queue, or limit how many of its jobs run."""
    if not ctx.invoked_subcommand:
        write_result(server.queues(), queue_table, as_json=as_json, if_empty="No queues.")


def _known(server: Client, queue: str) -> str:
    """Return the name of a known queue.

    Raises:
        UsageError: no job and no worker names such a queue, so the name must be mistyped.
    """
    known = [each.name for each in server.queues()]
    if queue not in known:
        raise UsageError(f"there is no queue {queue!r}: {advice(queue, known, 'queues')}")
    return queue


@queues_app.command()
def tenants(queue: QueueName, server: options.Server, as_json: options.Json = False) -> None:
    """List a queue's tenants, who take turns, with their waiting and running jobs."""
    loads = server.tenants(_known(server, queue))
    write_result(loads, tenant_table, as_json=as_json, if_empty="Nothing is waiting or running.")


@queues_app.command()
def pause(queue: QueueName, server: options.Server, as_json: options.Json = False) -> None:
    """Stop starting jobs of a queue; running jobs continue."""
    paused = server.pause(_known(server, queue))
    waiting = sum(paused.queued.values())
    jobs = f"{waiting:,} queued job{'' if waiting == 1 else 's'} wait{'s' if waiting == 1 else ''}"
    message = f"Queue {queue} is paused; {jobs if waiting else 'nothing is waiting'}."
    confirm(paused, message, as_json=as_json)


@queues_app.command()
def resume(queue: QueueName, server: options.Server, as_json: options.Json = False) -> None:
    """Start jobs of a paused queue again."""
    resumed = server.resume(_known(server, queue))
    confirm(resumed, f"Queue {queue} resumed.", as_json=as_json)


@queues_app.command(context_settings={"ignore_unknown_options": True})  # -1 is a value, and refused as one
def limit(
    *, queue: QueueName, max_running: AtMost, server: options.Server, as_json: options.Json = False
) -> None:
    """Limit how many jobs of a queue run at the same time; running jobs continue."""
    limited = server.limit_queue(
        _known(server, queue), None if max_running == options.NO_LIMIT else int(max_running)
    )
    at_most = (
        f"At most {max_running} of its jobs run" if limited.max_running else "Any number of its jobs run"
    )
    confirm(
        limited, f"Queue {queue}: {at_most} at the same time; {limited.running:,} run now.", as_json=as_json
    )
