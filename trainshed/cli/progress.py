"""A job's progress, for a live display or a list of facts."""

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shared.lifecycle import JobState
from shared.schemas import Attempt, Job, JobDetail, WaitingFor
from trainshed.cli.formatting import metrics_line, printable, state

_WAITING_FOR = {
    WaitingFor.PAUSED: "the queue is paused",
    WaitingFor.PREDECESSORS: "it runs after another job",
    WaitingFor.NO_WORKER_ONLINE: "no worker serves the queue",
    WaitingFor.SCHEDULED: "it is scheduled for later",
    WaitingFor.QUEUE_LIMIT: "as many jobs of the queue run as may",
    WaitingFor.KEY_LIMIT: "as many jobs of its key run as may",
    WaitingFor.ALL_BUSY: "all workers are busy",
}


def live_progress(job: JobDetail) -> Group:
    """Return a job's progress bar and metrics in two lines, for a display that is redrawn."""
    line = Table.grid(padding=(0, 2), expand=True)
    line.add_column(width=14)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    total = job.progress.epochs if job.progress else None
    completed = job.progress.epoch if job.progress else 0
    idle = job.state is not JobState.RUNNING
    bar = ProgressBar(total=total if idle or total else None, completed=completed)
    attempt = f"  attempt {job.attempt}" if job.attempt > 1 else ""
    line.add_row(activity(job), bar, f"{steps(job)}{attempt}")
    return Group(line, Text(last_metrics(job)))


def activity(job: Job) -> Text:
    """Return what a job is doing, in one or two words."""
    if job.state is JobState.RUNNING and job.cancel_requested_at:
        return state(JobState.CANCELLED, "cancelling")
    return state(job.state, (job.phase or "").replace("_", " ") if job.state is JobState.RUNNING else "")


def steps(job: Job) -> str:
    """Return a job's epochs and steps so far, and the estimated time left."""
    progress = job.progress
    if not progress:
        return ""
    eta = f"  {progress.eta_s:,.0f} s left" if progress.eta_s else ""
    return f"epoch {progress.epoch}/{progress.epochs}  step {progress.step:,}/{progress.steps:,}{eta}"


def queue_position(job: JobDetail) -> str:
    """Return a queued job's position in its queue, and why it is not running yet."""
    if job.queue_position is None:
        return ""
    reason = f"; {_WAITING_FOR[job.waiting_for]}" if job.waiting_for else ""
    soon = "" if job.starts_in_s is None else f"; starts in about {job.starts_in_s:,.0f} s"
    share = ""
    if job.share_queued is not None and job.share_running is not None:
        share = (
            f"; {job.share_running:,} of the {job.share_running + job.share_queued:,} jobs of its share run"
        )
    return f"position {job.queue_position:,} in the queue{reason}{share}{soon}"


def last_metrics(job: Job) -> str:
    """Return the metrics of a job's last epoch in one line."""
    return metrics_line(job.metrics.model_dump()) if job.metrics else ""


def ended_attempt(attempt: Attempt) -> Text:
    """Return why an attempt ended that was not the job's last."""
    reason = f" ({attempt.error_code}: {attempt.error_message})" if attempt.error_code else ""
    text = f"attempt {attempt.number} {attempt.outcome}{reason}; the job waits for its next attempt"
    return Text(printable(text), "yellow")
