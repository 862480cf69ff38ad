"""A job's progress, for a live display or a list of facts."""

import time
from collections.abc import Callable, Iterator
from uuid import UUID

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shared.lifecycle import AttemptOutcome, JobState
from shared.schemas import Attempt, Job, JobDetail, Progress, WaitingFor, main_metric
from trainshed.cli.formatting import duration, metrics_line, printable, seconds_since, state

EVALUATED = "evaluation_accuracy"
"""The metric that a list of jobs shows by default."""

_ALMOST = 0.95  # of an epoch: where the bar waits for the record of one that takes longer than the last ones

_WAITING_FOR = {
    WaitingFor.PAUSED: "the queue is paused",
    WaitingFor.PREDECESSORS: "it runs after another job",
    WaitingFor.NO_WORKER_ONLINE: "no worker serves the queue",
    WaitingFor.SCHEDULED: "it is scheduled for later",
    WaitingFor.QUEUE_LIMIT: "as many jobs of the queue run as may",
    WaitingFor.KEY_LIMIT: "as many jobs of its key run as may",
    WaitingFor.ALL_BUSY: "all workers are busy",
}


class EpochTimes:
    """How long ago jobs recorded their last steps: since this program has seen them there."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[UUID, tuple[object, float]] = {}

    def since_s(self, job: Job) -> float:
        """Return the seconds since a job was first seen at its present step."""
        step = (job.attempt, job.progress and job.progress.step)
        if self._seen.get(job.id, (None,))[0] != step:
            self._seen[job.id] = step, self._clock()
        return self._clock() - self._seen[job.id][1]


class LiveProgress:
    """A job's progress, which moves on between two of its states whenever it is redrawn."""

    def __init__(self, job: JobDetail, epochs: EpochTimes) -> None:
        self._job, self._epochs = job, epochs

    def __rich_console__(self, _console: object, _options: object) -> Iterator[Group]:
        yield live_progress(self._job, self._epochs.since_s(self._job))


def live_progress(job: JobDetail, since_s: float = 0.0) -> Group:
    """Return a job's bar, times and metrics in up to three lines, `since_s` seconds after its last step."""
    line = Table.grid(padding=(0, 2), expand=True)
    line.add_column(width=14)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    line.add_row(activity(job), progress_bar(job, since_s), recorded(job))
    attempt = f"attempt {job.attempt}" if job.attempt > 1 else ""
    details = (
        "  ".join(filter(None, (times(job, since_s), attempt))),
        queue_position(job),
        last_metrics(job),
    )
    return Group(line, *(_wrapped(detail) for detail in details if detail))


def _wrapped(facts: str) -> RenderableType:
    """Return facts that are two spaces apart, with a line's end only between them where they are too long."""
    parts = facts.split("  ")
    return Text(facts) if len(parts) == 1 else Columns(map(Text, parts), padding=(0, 2))


def progress_bar(job: Job, since_s: float, width: int | None = None) -> ProgressBar:
    """Return a bar of a job's steps, as epochs.

    Between two records of steps it moves at the pace of the last ones, but for the end of the epoch. While
    none is recorded there is no pace, and the bar only pulses.
    """
    progress = job.progress
    if progress is None or (job.state is JobState.RUNNING and not progress.step):
        return ProgressBar(total=None if job.state is JobState.RUNNING else 1, width=width)
    done, epoch_s = _epochs(progress), _epoch_s(progress)
    within = min(since_s / epoch_s, _ALMOST * (progress.epoch + 1 - done)) if epoch_s else 0.0
    return ProgressBar(total=progress.epochs, completed=done + within, width=width)


def _epochs(progress: Progress) -> float:
    """Return how many epochs are done, with the part of the one that goes on."""
    return progress.step / progress.steps * progress.epochs


def _epoch_s(progress: Progress) -> float | None:
    """Return the seconds of an epoch at the pace of the last ones; None if unknown, or none is left."""
    left = progress.epochs - _epochs(progress)
    return progress.eta_s / left if progress.eta_s and left else None


def activity(job: Job) -> Text:
    """Return what a job is doing, in one or two words."""
    if job.state is JobState.RUNNING and job.cancel_requested_at:
        return state(JobState.CANCELLED, "cancelling")
    return state(job.state, (job.phase or "").replace("_", " ") if job.state is JobState.RUNNING else "")


def steps(job: Job) -> str:
    """Return a job's epochs and steps so far, and the times."""
    return "  ".join(filter(None, (recorded(job), times(job))))


def recorded(job: Job) -> str:
    """Return a job's epochs and steps so far; empty for an evaluation."""
    progress = job.progress
    return f"{epochs_done(job)}  step {progress.step:,}/{progress.steps:,}" if progress else ""


def epochs_done(job: Job) -> str:
    """Return a job's epochs so far; empty for an evaluation."""
    return f"epoch {job.progress.epoch}/{job.progress.epochs}" if job.progress else ""


def times(job: Job, since_s: float = 0.0) -> str:
    """Return how long a job has run since its first start, and the estimated time left."""
    ran_s, left_s = elapsed_s(job), seconds_left(job, since_s)
    return "  ".join(
        f"{duration(seconds)} {word}"
        for seconds, word in ((ran_s, "elapsed"), (left_s, "left"))
        if seconds is not None
    )


def elapsed_s(job: Job) -> float | None:
    """Return the seconds from a job's first start to its end or until now; None unless it runs or has run."""
    if job.finished_at and job.started_at:
        return (job.finished_at - job.started_at).total_seconds()
    return (
        max(0.0, seconds_since(job.started_at)) if job.started_at and job.state is JobState.RUNNING else None
    )


def seconds_left(job: Job, since_s: float = 0.0) -> float | None:
    """Return the estimated seconds until a job's last epoch; None if unknown."""
    progress = job.progress
    if progress is None or not progress.eta_s or job.state is not JobState.RUNNING:
        return None
    return max(0.0, progress.eta_s - min(since_s, _epoch_s(progress) or 0.0))


def waiting_reason(job: Job) -> str:
    """Return why a job is not running yet; empty if it is not known, or it does not wait."""
    reason = job.waiting_for if isinstance(job, JobDetail) else None
    return _WAITING_FOR[reason] if reason else ""


def queue_position(job: JobDetail) -> str:
    """Return a queued job's position in its queue, and why it is not running yet."""
    if job.queue_position is None:
        return ""
    reason = f"; {waiting_reason(job)}" if job.waiting_for else ""
    soon = "" if job.starts_in_s is None else f"; starts in about {job.starts_in_s:,.0f} s"
    turns = ""
    # a position beyond the jobs of its own tenant: those of others wait before it
    is_behind = job.tenant_queued is not None and job.queue_position > job.tenant_queued
    if is_behind and job.tenant_queued is not None and job.tenant_running is not None:
        jobs = job.tenant_queued + job.tenant_running
        turns = f"; {job.tenant_running:,} of its tenant's {jobs:,} jobs run"
    return f"position {job.queue_position:,} in the queue{reason}{turns}{soon}"


def last_metrics(job: Job) -> str:
    """Return the last value of each of a job's metrics in one line."""
    return metrics_line(job.values)


def headline(job: Job) -> dict[str, float | None]:
    """Return the metric of a job that tells most: the accuracy of its evaluation, or another one."""
    name = EVALUATED if EVALUATED in job.values else main_metric(job.values)
    return {} if name is None else {name.removeprefix("evaluation_"): job.values[name]}


def ended_attempt(attempt: Attempt, failures: int, max_failures: int) -> Text:
    """Return why an attempt ended that was not the job's last.

    Args:
        failures: how many attempts have failed so far.
        max_failures: after which the job fails.
    """
    reason = f" ({attempt.error_code}: {attempt.error_message})" if attempt.error_code else ""
    failed = attempt.outcome is AttemptOutcome.FAILED
    next_one = f"will be retried (failure {failures} of {max_failures})" if failed else "will be resumed"
    text = f"attempt {attempt.number} {attempt.outcome}{reason}; {next_one}"
    return Text(printable(text), "yellow")
