"""Follows a job to its end: a live bar in a terminal, a line an epoch anywhere else."""

from uuid import UUID

from rich.console import Console
from rich.live import Live
from rich.text import Text

from client import render
from client.trainshed import Trainshed
from shared.lifecycle import TERMINAL, AttemptOutcome, Phase
from shared.schemas import JobDetail

_REFRESH_HZ = 8


def follow(server: Trainshed, job_id: UUID, console: Console) -> JobDetail:
    """Show a job's progress until it is finished.

    Args:
        server: where the job is.
        job_id: of the job.
        console: where it is shown; one that is no terminal gets plain lines.

    Returns:
        the finished job.
    """
    if console.is_terminal:
        return _follow_live(server, job_id, console)
    return _follow_in_lines(server, job_id, console)


def _follow_live(server: Trainshed, job_id: UUID, console: Console) -> JobDetail:
    told = 0
    with Live(console=console, refresh_per_second=_REFRESH_HZ) as live:
        for job in server.watch(job_id):
            setbacks = _setbacks(job)
            for line in setbacks[told:]:
                live.console.print(line)
            told = len(setbacks)
            live.update(render.progress(job))
    return job


def _follow_in_lines(server: Trainshed, job_id: UUID, console: Console) -> JobDetail:
    told, shown, doing = 0, 0, ""
    for job in server.watch(job_id):
        setbacks, now = _setbacks(job), render.activity(job).plain
        epochs = _epochs(server, job, shown) if job.progress and job.progress.epoch > shown else []
        news = [Text(now)] if now != doing and job.state not in TERMINAL else []
        trained = job.phase in (Phase.EVALUATING, Phase.SAVING)
        for line in [*setbacks[told:], *(epochs + news if trained else news + epochs)]:
            console.print(line, soft_wrap=True)
        told, shown, doing = len(setbacks), shown + len(epochs), now
    return job


def _epochs(server: Trainshed, job: JobDetail, shown: int) -> list[Text]:
    """A line for each epoch after the first `shown` ones."""
    series = {one.name: one.y for one in server.metrics(job.id).series}
    total = str(job.progress.epochs if job.progress else "")
    return [
        Text(
            f"epoch {number:>{len(total)}}/{total}  {render.numbers(dict(zip(series, values, strict=True)))}"
        )
        for number, values in enumerate(zip(*series.values(), strict=True), start=1)
        if number > shown
    ]


def _setbacks(job: JobDetail) -> list[Text]:
    """What to say of each attempt that ended, and was not the job's end."""
    return [
        render.setback(attempt)
        for attempt in job.attempts
        if attempt.outcome in (AttemptOutcome.FAILED, AttemptOutcome.LOST, AttemptOutcome.RELEASED)
        and not (attempt.number == job.attempt and job.state in TERMINAL)
    ]
