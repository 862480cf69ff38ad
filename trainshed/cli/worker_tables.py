"""Queues, tenants and workers as tables, for people."""

from collections.abc import Iterable

from rich.text import Text

from shared.lifecycle import JobState
from shared.schemas import Priority, Queue, TenantLoad, Worker, WorkerAttempt
from trainshed.cli.fitting import FittedTable, Row, number, prose
from trainshed.cli.formatting import NOTHING, age, ago, cell, minute, short_id, took


def queue_table(queues: Iterable[Queue]) -> FittedTable:
    """Return queues, one per row."""
    rows: Iterable[Row] = (
        {
            "Queue": cell(queue.name),
            "State": Text("paused", "yellow") if queue.paused else Text("open"),
            **{priority.capitalize(): number(f"{queue.queued[priority]:,}") for priority in Priority},
            "Oldest": number(NOTHING if queue.oldest_waiting_s is None else age(queue.oldest_waiting_s)),
            "Running": number(
                f"{queue.running:,}{f' of {queue.max_running:,}' if queue.max_running else ''}"
            ),
            "Workers": number(f"{queue.workers:,}"),
            "Slots": number(f"{queue.slots:,}"),
        }
        for queue in queues
    )
    priorities = (priority.capitalize() for priority in reversed(Priority))
    return FittedTable(rows, optional=("Slots", "Oldest", "Workers", *priorities))


def tenant_table(tenants: Iterable[TenantLoad], title: str = "") -> FittedTable:
    """Return tenants of a queue, one per row."""
    rows: Iterable[Row] = (
        {
            "Tenant": cell(tenant.tenant or "unknown"),
            "Name": prose(tenant.name),
            "Waiting": number(f"{tenant.queued:,}"),
            "Running": number(f"{tenant.running:,}"),
            "Longest wait": number(NOTHING if tenant.longest_wait_s is None else age(tenant.longest_wait_s)),
        }
        for tenant in tenants
    )
    return FittedTable(rows, optional=("Longest wait", "Name"), title=title)


def worker_table(workers: Iterable[Worker]) -> FittedTable:
    """Return workers, one per row."""
    rows: Iterable[Row] = (
        {
            "Worker": cell(worker.id),
            "State": worker.state,
            "Queues": prose(", ".join(worker.queues)),
            "Devices": prose(", ".join(worker.devices) or "CPU"),
            "Slots": number(f"{worker.busy_slots}/{worker.slots}"),
            "Last seen": number(ago(worker.heartbeat_age_s)),
        }
        for worker in workers
    )
    return FittedTable(rows, optional=("Devices", "Slots", "Queues"))


def history_table(attempts: Iterable[WorkerAttempt]) -> FittedTable:
    """Return attempts of a worker, one per row."""
    rows: Iterable[Row] = (
        {
            "Job": short_id(attempt.job_id),
            "#": str(attempt.number),
            "Name": prose(attempt.name),
            "Kind": attempt.kind,
            "Started": minute(attempt.started_at),
            "Outcome": attempt.outcome or JobState.RUNNING,
            "Error": cell(attempt.error_code),
            "Seconds": number(took(attempt.started_at, attempt.finished_at)),
        }
        for attempt in attempts
    )
    return FittedTable(rows, optional=("Kind", "#", "Seconds", "Started"))
