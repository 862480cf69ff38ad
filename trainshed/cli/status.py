"""The command that shows the state of a server: `trainshed status`."""

import typer
from pydantic import BaseModel
from rich.console import Group, RenderableType
from rich.text import Text

from shared.schemas import WITHOUT_KEY, JobCounts, Me, Queue, TenantLoad, Worker
from trainshed.cli import options
from trainshed.cli.exit_codes import ExitCode
from trainshed.cli.formatting import printable
from trainshed.cli.output import say, write_result
from trainshed.cli.worker_tables import queue_table, tenant_table, worker_table
from trainshed.cli.workers import not_stopped


class _Status(BaseModel):
    """The state of a server.

    Attributes:
        ready: whether the server serves requests.
        lacks: the services that the server lacks, in words; empty if none.
        tenants: the tenants whose jobs wait or run, by queue.
    """

    url: str
    ready: bool
    lacks: str
    me: Me
    jobs: JobCounts
    queues: tuple[Queue, ...]
    tenants: dict[str, tuple[TenantLoad, ...]]
    workers: tuple[Worker, ...]


def status(server: options.Server, as_json: options.Json = False) -> None:
    """Show whether the server is ready, its queues and workers; exit code 1 if it is not ready."""
    ready, lacks = server.health()
    if lacks:  # first, since without a database the other requests time out
        say(f"Ready, but {lacks}" if ready else f"Not ready: {lacks}", "yellow" if ready else "red")
    queues = server.queues()
    busy = [queue.name for queue in queues if queue.running or any(queue.queued.values())]
    status = _Status(
        url=server.url,
        ready=ready,
        lacks=lacks,
        me=server.me(),
        jobs=server.counts(),
        queues=queues,
        tenants={name: server.tenants(name) for name in busy},
        workers=not_stopped(server.workers()),
    )
    write_result(status, _tables, as_json=as_json)
    raise typer.Exit(ExitCode.DONE if ready else ExitCode.FAILED)


def _identity(me: Me) -> str:
    if me.name == WITHOUT_KEY:
        return f"no key needed on this host ({me.scope} access)"
    return f"{printable(me.name)}, with scope {me.scope}"


def _tables(status: _Status) -> Group:
    counts = ", ".join(f"{count:,} {state}" for state, count in status.jobs.states.items() if count)
    head = f"{status.url}: {_identity(status.me)}\nJobs: {counts or 'none'}"
    tables: list[RenderableType] = [queue_table(status.queues) if status.queues else "No queues."]
    tables += [tenant_table(loads, f"Tenants of the queue {name}") for name, loads in status.tenants.items()]
    tables.append(worker_table(status.workers) if status.workers else "No workers.")
    return Group(Text(head), *(part for table in tables for part in ("", table)))
