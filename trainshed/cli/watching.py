"""A live view of jobs in a terminal; elsewhere, for several jobs, a line for each change."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple
from uuid import UUID

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from shared.lifecycle import TERMINAL, JobState
from shared.schemas import Job, JobDetail
from trainshed.cli.exit_codes import EXIT_CODES, ExitCode
from trainshed.cli.fitting import FittedTable, Row, number, prose
from trainshed.cli.formatting import NOTHING, duration, metrics_line, printable, short_id
from trainshed.cli.output import say, stdout, while_read
from trainshed.cli.progress import (
    activity,
    elapsed_s,
    epochs_done,
    headline,
    live_progress,
    progress_bar,
    seconds_left,
    times,
    waiting_reason,
)
from trainshed.cli.references import if_exists
from trainshed.client import Client

_INTERVAL_S = 1.0
_REFRESH_HZ = 4
_ROWS_ELSEWHERE = 50  # outside a terminal, whose height does not limit them
_OTHER_LINES = 6  # beside the rows: the line above the table, its head, the note below it, and the prompt
_BAR_WIDTH = 12

Sleep = Callable[[float], None]


class Round(NamedTuple):
    """The jobs at one poll of the server, and their view, whose times advance until the next round.

    Attributes:
        jobs: the shown jobs; a single job has its metrics and its position in the queue.
        ended: the jobs that have ended since the last round.
        lines: other lines to write above the view.
        head: a line above a table of jobs; empty for none.
    """

    jobs: Sequence[Job]
    ended: Sequence[JobDetail] = ()
    lines: Sequence[Text] = ()
    head: str = ""

    def __rich__(self) -> Group:
        if len(self.jobs) == 1 and isinstance(job := self.jobs[0], JobDetail) and not self.head:
            return live_progress(job)
        return Group(*([Text(self.head), Text()] if self.head else []), watch_table(self.jobs))


def show_live(rounds: Iterable[Round], console: Console) -> Round:
    """Show each round in place of the one before, and return the last."""
    last = Round(())
    with Live(console=console, refresh_per_second=_REFRESH_HZ) as live:
        for last in rounds:
            for line in (*last.lines, *map(job_line, last.ended)):
                console.print(line)
            live.update(last)
    return last


def watch_many(
    server: Client, job_ids: Sequence[UUID], *, as_json: bool, sleep: Sleep = time.sleep
) -> typer.Exit:
    """Watch these jobs until all are finished; if none are given, watch all unfinished jobs until Ctrl-C.

    Returns:
        The command's exit, with the code of the worst final state or of an interruption.
    """
    console = stdout()
    if job_ids:
        rounds = rounds_of(server, job_ids, sleep)
    else:
        rows = max(1, console.height - _OTHER_LINES) if console.is_terminal else _ROWS_ELSEWHERE
        rounds = rounds_of_unfinished(server, rows, sleep)
    is_live = console.is_terminal and not as_json
    try:
        with while_read():
            last = show_live(rounds, console) if is_live else _write(rounds, console, as_json=as_json)
    except KeyboardInterrupt:
        if not as_json:
            say("The jobs continue.", "yellow")
        return typer.Exit(ExitCode.DETACHED)
    states = {job.state for job in last.jobs}
    worst = (state for state in (JobState.FAILED, JobState.CANCELLED) if state in states)
    return typer.Exit(EXIT_CODES[next(worst, JobState.SUCCEEDED)])


def rounds_of(server: Client, job_ids: Sequence[UUID], sleep: Sleep) -> Iterator[Round]:
    """Poll these jobs until all are finished, and yield a round each time."""
    jobs = {job_id: server.job(job_id) for job_id in job_ids}
    while True:
        yield Round(tuple(jobs.values()))
        unfinished = [job.id for job in jobs.values() if job.state not in TERMINAL]
        if not unfinished:
            return
        sleep(_INTERVAL_S)
        jobs |= {job_id: server.job(job_id) for job_id in unfinished}


def rounds_of_unfinished(server: Client, rows: int, sleep: Sleep) -> Iterator[Round]:
    """Poll up to `rows` jobs that run or wait, the running ones first, without end."""
    before: set[UUID] = set()
    while True:
        jobs = _unfinished(server, rows)
        now = {job.id for job in jobs}
        gone = (if_exists(partial(server.job, job_id)) for job_id in sorted(before - now))
        ended = [job for job in gone if job and job.state in TERMINAL]
        counts = server.counts().states
        running, queued = counts.get(JobState.RUNNING, 0), counts.get(JobState.QUEUED, 0)
        hidden = max(0, running + queued - len(jobs))
        more = f"; {hidden:,} more not shown" if hidden else ""
        yield Round(jobs, ended, head=f"{running:,} running, {queued:,} queued{more}")
        before = now
        sleep(_INTERVAL_S)


def _unfinished(server: Client, rows: int) -> list[Job]:
    running = list(server.jobs(state=JobState.RUNNING, sort="created_at", limit=rows))
    queued = server.jobs(state=JobState.QUEUED, sort="created_at", limit=rows - len(running))
    # a list does not say why a job waits
    detailed = (if_exists(partial(server.job, job.id)) for job in queued)
    return [*running, *(job for job in detailed if job)]


def _write(rounds: Iterable[Round], console: Console, *, as_json: bool) -> Round:
    """Write a line for each change of a job, and return the last round."""
    shown: dict[UUID, object] = {}
    last = Round(())
    for last in rounds:
        for job in (*last.jobs, *last.ended):
            if shown.get(job.id) == _news(job):
                continue
            shown[job.id] = _news(job)
            if as_json:
                typer.echo(job.model_dump_json())
            else:
                console.print(job_line(job), soft_wrap=True)
    return last


def _news(job: Job) -> object:
    """Return the values of a job whose change is worth a line."""
    return job.state, job.phase, job.attempt, epochs_done(job), waiting_reason(job), job.cancel_requested_at


def job_line(job: Job) -> Text:
    """Return a job's state in one line."""
    if job.state is JobState.RUNNING:
        facts = [epochs_done(job), times(job), metrics_line(job.values)]
    elif job.state is JobState.FAILED and job.error:
        facts = [f"{job.error.code}: {job.error.message}"]
    elif job.state is JobState.SUCCEEDED:
        facts = [metrics_line(headline(job)), times(job)]
    else:
        facts = [waiting_reason(job)]
    rest = printable("  ".join(filter(None, (job.name, *facts))))
    return Text.assemble(short_id(job.id), "  ", activity(job), "  " if rest else "", rest)


def watch_table(jobs: Iterable[Job]) -> FittedTable:
    """Return jobs, one per row, with their progress."""
    rows: Iterable[Row] = (
        {
            "Job": short_id(job.id),
            "State": activity(job),
            "Progress": progress_bar(job, _BAR_WIDTH),
            "Epochs": number(epochs_done(job).removeprefix("epoch ") or NOTHING),
            "Elapsed": number(_duration(elapsed_s(job))),
            "Left": number(_duration(seconds_left(job))),
            "About": prose("; ".join(filter(None, (job.name, waiting_reason(job))))),
        }
        for job in jobs
    )
    return FittedTable(rows, optional=("Progress", "Elapsed"))


def _duration(seconds: float | None) -> str:
    return NOTHING if seconds is None else duration(seconds)
