"""Queues, tenants and workers as tables, for people."""

from collections.abc import Iterable

from rich.text import Text

from shared.lifecycle import JobState
from shared.schemas import Priority, Queue, TenantLoad, Worker, WorkerAttempt
from trainshed.cli.fitting import FittedTable, number, prose, text
from trainshed.cli.formatting import NOTHING, age, ago, cell, minute, short_id, took


def queue_table(queues: Iterable[Queue]) -> FittedTable:
    """Return queues, one per row."""
    table = FittedTable(
        *(text("Queue"), text("State"), *(number(priority.capitalize(), 1) for priority in Priority)),
        *(number("Oldest", 3), number("Running"), number("Workers", 2), number("Slots", 4)),
    )
    for queue in queues:
        oldest = queue.oldest_waiting_s
        table.add_row(
            cell(queue.name),
            Text("paused", "yellow") if queue.paused else Text("open"),
            *(f"{queue.queued[priority]:,}" for priority in Priority),
            NOTHING if oldest is None else age(oldest),
            f"{queue.running:,}" + (f" of {queue.max_running:,}" if queue.max_running else ""),
            f"{queue.workers:,}",
            f"{queue.slots:,}",
        )
    return table


def tenant_table(tenants: Iterable[TenantLoad], title: str = "") -> FittedTable:
    """Return tenants of a queue, one per row."""
    table = FittedTable(
        *(text("Tenant"), prose("Name", 1), number("Waiting"), number("Running"), number("Longest wait", 2)),
        title=title,
    )
    for tenant in tenants:
        wait = tenant.longest_wait_s
        table.add_row(
            cell(tenant.tenant or "unknown"),
            cell(tenant.name or ""),
            f"{tenant.queued:,}",
            f"{tenant.running:,}",
            NOTHING if wait is None else age(wait),
        )
    return table


def worker_table(workers: Iterable[Worker]) -> FittedTable:
    """Return workers, one per row."""
    table = FittedTable(
        *(text("Worker"), text("State"), prose("Queues", 1), prose("Devices", 3)),
        *(number("Slots", 2), number("Last seen")),
    )
    for worker in workers:
        table.add_row(
            cell(worker.id),
            worker.state,
            cell(", ".join(worker.queues)),
            cell(", ".join(worker.devices) or "CPU"),
            f"{worker.busy_slots}/{worker.slots}",
            ago(worker.heartbeat_age_s),
        )
    return table


def history_table(attempts: Iterable[WorkerAttempt]) -> FittedTable:
    """Return attempts of a worker, one per row."""
    table = FittedTable(
        *(text("Job"), text("#", 4), prose("Name"), text("Kind", 3), text("Started", 1), text("Outcome")),
        *(text("Error"), number("Seconds", 2)),
    )
    for attempt in attempts:
        table.add_row(
            short_id(attempt.job_id),
            str(attempt.number),
            cell(attempt.name),
            attempt.kind,
            minute(attempt.started_at),
            attempt.outcome or JobState.RUNNING,
            cell(attempt.error_code),
            took(attempt.started_at, attempt.finished_at),
        )
    return table
