"""A job's progress, for a live display or a list of facts."""

from rich.columns import Columns
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shared.lifecycle import TERMINAL, AttemptOutcome, JobState
from shared.schemas import Job, JobDetail, WaitingFor, main_metric
from trainshed.cli.formatting import duration, metrics_line, printable, seconds_since, state

EVALUATED = "evaluation_accuracy"
"""The metric that a list of jobs shows by default."""

_RESUMED = (AttemptOutcome.FAILED, AttemptOutcome.LOST, AttemptOutcome.RELEASED)
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
    """Return a job's bar, times and metrics in up to three lines."""
    line = Table.grid(padding=(0, 2), expand=True)
    line.add_column(width=14)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    line.add_row(activity(job), progress_bar(job), recorded(job))
    attempt = f"attempt {job.attempt}" if job.attempt > 1 else ""
    details = ("  ".join(filter(None, (times(job), attempt))), queue_position(job), metrics_line(job.values))
    return Group(line, *(_wrapped(detail) for detail in details if detail))


def _wrapped(facts: str) -> Columns:
    """Return facts, which two spaces separate, as a text that wraps only between facts."""
    return Columns(map(Text, facts.split("  ")), padding=(0, 2))


def progress_bar(job: Job, width: int | None = None) -> ProgressBar:
    """Return a bar of a job's steps, which only pulses while the job runs without a recorded step."""
    step, steps = (job.progress.step, job.progress.steps) if job.progress else (0, 1)
    is_unknown = job.state is JobState.RUNNING and not step
    return ProgressBar(total=None if is_unknown else steps, completed=step, width=width)


def activity(job: Job) -> Text:
    """Return a job's phase or state in one or two words."""
    if job.state is JobState.RUNNING and job.cancel_requested_at:
        return state(JobState.CANCELLED, "cancelling")
    return state(job.state, (job.phase or "").replace("_", " ") if job.state is JobState.RUNNING else "")


def recorded(job: Job) -> str:
    """Return a job's epochs and steps so far; empty for an evaluation."""
    progress = job.progress
    return f"{epochs_done(job)}  step {progress.step:,}/{progress.steps:,}" if progress else ""


def epochs_done(job: Job) -> str:
    """Return a job's epochs so far; empty for an evaluation."""
    return f"epoch {job.progress.epoch}/{job.progress.epochs}" if job.progress else ""


def times(job: Job) -> str:
    """Return how long a job has run since its first start, and the estimated time left."""
    return "  ".join(
        f"{duration(seconds)} {word}"
        for seconds, word in ((elapsed_s(job), "elapsed"), (seconds_left(job), "left"))
        if seconds is not None
    )


def elapsed_s(job: Job) -> float | None:
    """Return the seconds from a job's first start to its end or until now; None if queued or never run."""
    if job.finished_at and job.started_at:
        return (job.finished_at - job.started_at).total_seconds()
    return (
        max(0.0, seconds_since(job.started_at)) if job.started_at and job.state is JobState.RUNNING else None
    )


def seconds_left(job: Job) -> float | None:
    """Return the estimated seconds until a job's last epoch, or None if unknown."""
    if job.progress is None or job.state is not JobState.RUNNING:
        return None
    return job.progress.eta_s or None


def waiting_reason(job: Job) -> str:
    """Return why a job is not running yet; empty if the reason is unknown, or the job does not wait."""
    reason = job.waiting_for if isinstance(job, JobDetail) else None
    return _WAITING_FOR[reason] if reason else ""


def queue_position(job: JobDetail) -> str:
    """Return a queued job's position in its queue, and why it is not running yet."""
    if job.queue_position is None:
        return ""
    reason = f"; {waiting_reason(job)}" if job.waiting_for else ""
    soon = "" if job.starts_in_s is None else f"; starts in about {job.starts_in_s:,.0f} s"
    turns = ""
    # with a position beyond the number of its tenant's jobs, jobs of other tenants are ahead of it
    is_behind = job.tenant_queued is not None and job.queue_position > job.tenant_queued
    if is_behind and job.tenant_queued is not None and job.tenant_running is not None:
        jobs = job.tenant_queued + job.tenant_running
        turns = f"; {job.tenant_running:,} of its tenant's {jobs:,} jobs run"
    return f"position {job.queue_position:,} in the queue{reason}{turns}{soon}"


def headline(job: Job) -> dict[str, float | None]:
    """Return a job's main metric by name: the accuracy of its evaluation, or another one."""
    name = EVALUATED if EVALUATED in job.values else main_metric(job.values)
    return {} if name is None else {name.removeprefix("evaluation_"): job.values[name]}


def ended_attempts(job: JobDetail) -> list[Text]:
    """Return a line for each attempt that ended without ending the job: the reason and the next step."""
    lines, failures = [], 0
    for attempt in job.attempts:
        is_last = attempt.number == job.attempt and job.state in TERMINAL
        if is_last or attempt.outcome not in _RESUMED:
            continue
        reason = f" ({attempt.error_code}: {attempt.error_message})" if attempt.error_code else ""
        next_one = "will be resumed"
        if attempt.outcome is AttemptOutcome.FAILED:
            failures += 1
            next_one = f"will be retried (failure {failures} of {job.max_attempts})"
        text = f"attempt {attempt.number} {attempt.outcome}{reason}; {next_one}"
        lines.append(Text(printable(text), "yellow"))
    return lines
