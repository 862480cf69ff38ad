"""The commands about workers and queues, which list them, drain a worker and pause a queue."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer
from pydantic import BaseModel

from trainshed.cli import options, tables
from trainshed.cli.output import say, show, write_json
from trainshed.client import Client

M = TypeVar("M", bound=BaseModel)

workers_app = typer.Typer(invoke_without_command=True, help="List the workers; drain one.")
queues_app = typer.Typer(invoke_without_command=True, help="List the queues; pause one.")

WorkerId = Annotated[str, typer.Argument(metavar="WORKER", help="Its id, as `workers` shows it.")]
QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="Its name, as `queues` shows it.")]


@workers_app.callback()
def workers(ctx: typer.Context, url: options.Url = None, as_json: options.Json = False) -> None:
    """List the workers, last heard of first; drain one."""
    if ctx.invoked_subcommand:
        return
    with options.server(ctx, url) as server:
        found = server.workers()
    if as_json:
        write_json(found)
    elif found:
        show(tables.worker_table(found))
    else:
        say("No worker was ever here: start one with `trainshed worker`.")


@workers_app.command()
def drain(
    ctx: typer.Context, worker: WorkerId, url: options.Url = None, as_json: options.Json = False
) -> None:
    """Let a worker finish the jobs that it runs, and take no others."""
    changed = _do(ctx, url, as_json, lambda server: server.drain(worker))
    if not as_json:
        say(f"Worker {worker} is {changed.state}; it still runs {changed.busy_slots} jobs.")


@workers_app.command()
def undrain(
    ctx: typer.Context, worker: WorkerId, url: options.Url = None, as_json: options.Json = False
) -> None:
    """Let a worker take jobs again."""
    changed = _do(ctx, url, as_json, lambda server: server.undrain(worker))
    if not as_json:
        say(f"Worker {worker} is {changed.state}.")


@queues_app.callback()
def queues(ctx: typer.Context, url: options.Url = None, as_json: options.Json = False) -> None:
    """List the queues; pause one."""
    if ctx.invoked_subcommand:
        return
    with options.server(ctx, url) as server:
        found = server.queues()
    if as_json:
        write_json(found)
    else:
        show(tables.queue_table(found))


@queues_app.command()
def pause(
    ctx: typer.Context, queue: QueueName, url: options.Url = None, as_json: options.Json = False
) -> None:
    """Let no job of a queue be started; those that run go on."""
    changed = _do(ctx, url, as_json, lambda server: server.pause(queue))
    if not as_json:
        say(f"Queue {queue} is paused; {sum(changed.queued.values())} jobs wait.")


@queues_app.command()
def resume(
    ctx: typer.Context, queue: QueueName, url: options.Url = None, as_json: options.Json = False
) -> None:
    """Let a queue's jobs be started again."""
    _do(ctx, url, as_json, lambda server: server.resume(queue))
    if not as_json:
        say(f"Queue {queue} goes on.")


def _do(ctx: typer.Context, url: str | None, as_json: bool, call: Callable[[Client], M]) -> M:
    with options.server(ctx, url) as server:
        answer = call(server)
    if as_json:
        write_json(answer)
    return answer
