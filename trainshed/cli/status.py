"""The command that says how the server is: `trainshed status`."""

import typer
from pydantic import BaseModel
from rich.text import Text

from shared.schemas import JobCounts, Me, Queue, Worker
from trainshed.cli import options, tables
from trainshed.cli.exit_codes import ExitCode
from trainshed.cli.output import say, show, write_json
from trainshed.client import Client


class _Status(BaseModel):
    """How a server is.

    Attributes:
        lacks: what it needs to do its work and has not, in words; empty if nothing.
    """

    url: str
    lacks: str
    me: Me
    jobs: JobCounts
    queues: tuple[Queue, ...]
    workers: tuple[Worker, ...]


def status(ctx: typer.Context, url: options.Url = None, as_json: options.Json = False) -> None:
    """Say whether the server is ready, what waits and what runs there; exit code 1 if it is not ready."""
    with options.server(ctx, url) as server:
        if lacks := server.why_not_ready():
            say(f"Not ready: {lacks}", "red")  # first, for without a database the rest is waited for in vain
        found = _look(server, lacks)
    if as_json:
        write_json(found)
    else:
        show(_heading(found), "", tables.queue_table(found.queues), "", tables.worker_table(found.workers))
    raise typer.Exit(ExitCode.FAILED if lacks else ExitCode.DONE)


def _look(server: Client, lacks: str) -> _Status:
    return _Status(
        url=server.url,
        lacks=lacks,
        me=server.me(),
        jobs=server.counts(),
        queues=server.queues(),
        workers=server.workers(),
    )


def _heading(found: _Status) -> Text:
    counts = ", ".join(f"{count:,} {state}" for state, count in found.jobs.states.items() if count)
    return Text(f"{found.url}: you are {found.me.name} and may {found.me.scope}.\nJobs: {counts or 'none'}")
