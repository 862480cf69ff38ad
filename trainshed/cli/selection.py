"""Choosing several jobs by ids or by filters, and cancelling, retrying or deleting them after a prompt."""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import typer

from shared.lifecycle import TERMINAL, JobState
from shared.schemas import BatchAction, BatchResult, Job
from trainshed.cli import completion, output
from trainshed.cli.exit_codes import ExitCode
from trainshed.cli.references import find_job, find_sweep
from trainshed.cli.tables import job_table
from trainshed.client import Client
from trainshed.errors import UsageError

_BATCH_SIZE = 200  # the server's limit of a batch, and of a page
_SHOWN = 10  # jobs listed above the prompt
_DONE = {BatchAction.CANCEL: "cancelled", BatchAction.RETRY: "retried", BatchAction.DELETE: "deleted"}
_APPLIES_TO: dict[BatchAction, Collection[JobState]] = {
    BatchAction.CANCEL: frozenset(JobState) - TERMINAL,
    BatchAction.RETRY: (JobState.FAILED, JobState.CANCELLED),
    BatchAction.DELETE: TERMINAL,
}


def _filter(text: str, *names: str, autocompletion: Callable[..., Any] | None = None) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Instead of ids", autocompletion=autocompletion)


References = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[JOB]...",
        help="Each a job's id, the end of its id, or `last`.",
        autocompletion=completion.jobs,
    ),
]
Tag = Annotated[str | None, _filter("Jobs with this tag.")]
States = Annotated[list[JobState] | None, _filter("Jobs in this state; may be repeated.", "--state")]
Queue = Annotated[str | None, _filter("Jobs of this queue.", autocompletion=completion.queues)]
SweepName = Annotated[
    str | None,
    _filter(
        "Jobs of this sweep: its id, the end of its id, or `last`.",
        "--sweep",
        autocompletion=completion.sweeps,
    ),
]
Mine = Annotated[bool, _filter("Jobs that the key in use has submitted.", "--mine")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


class Filters(NamedTuple):
    """Filters that choose jobs in place of ids; a job must match every given filter.

    Attributes:
        state: the states of the jobs; if empty, those to which the action applies.
    """

    tag: str | None = None
    state: Sequence[JobState] | None = None
    queue: str | None = None
    sweep: str | None = None
    mine: bool = False


def choose(
    server: Client, action: BatchAction, references: Sequence[str] | None, filters: Filters
) -> list[Job]:
    """Return the jobs that are named or match every filter.

    Raises:
        UsageError: there are neither references nor filters, or both.
    """
    if bool(references) == any(filters):
        choices = "--tag, --state, --queue, --sweep or --mine"
        raise UsageError(f"which jobs? Name jobs, or give {choices}, but not both")
    if references:
        ids = dict.fromkeys(find_job(server, reference) for reference in references)
        return [server.job(job_id) for job_id in ids]
    values = {"tag": filters.tag, "queue": filters.queue, "submitted_by": "me" if filters.mine else None}
    given = {name: value for name, value in values.items() if value}
    states = tuple(filters.state or _APPLIES_TO[action])
    jobs: Iterator[Job] = server.jobs(state=states, page_size=_BATCH_SIZE, **given)  # type: ignore[arg-type]
    return list(_of_sweep(server, jobs, filters.sweep) if filters.sweep else jobs)


def _of_sweep(server: Client, jobs: Iterator[Job], reference: str) -> Iterator[Job]:
    detail = server.sweep(find_sweep(server, reference))
    wanted = {result.job_id for result in detail.jobs}
    for job in jobs:
        if job.id in wanted:
            yield job
        if job.created_at < detail.created_at and job.id not in wanted:
            return  # newest first: the jobs of a sweep are submitted together


def confirm(action: BatchAction, jobs: Sequence[Job], *, yes: bool) -> None:
    """Show the jobs and ask whether to apply the action, unless `yes`.

    Raises:
        UsageError: there is no terminal for an answer.
        typer.Abort: the answer is no.
    """
    if yes:
        return
    output.show_on_stderr(job_table(jobs[:_SHOWN]))
    if len(jobs) > _SHOWN:
        output.say(f"and {len(jobs) - _SHOWN:,} more")
    if not has_terminal():
        raise UsageError(f"nothing is {_DONE[action]} without a confirmation: add --yes")
    typer.confirm(f"{action.capitalize()} {_count(len(jobs))}?", err=True, abort=True)


def has_terminal() -> bool:
    """Return whether a prompt can be answered."""
    return sys.stdin.isatty()


def apply(server: Client, action: BatchAction, job_ids: Sequence[UUID]) -> list[BatchResult]:
    """Cancel, retry or delete any number of jobs, each on its own."""
    starts = range(0, len(job_ids), _BATCH_SIZE)
    batches = (server.batch(action, job_ids[start : start + _BATCH_SIZE]) for start in starts)
    return [result for batch in batches for result in batch]


def report(
    action: BatchAction, results: Sequence[BatchResult], *, by_filter: bool, as_json: bool
) -> ExitCode:
    """Write the successes and the failures of an action, and return the exit code.

    Args:
        by_filter: whether the jobs were chosen by filters; then jobs that belong to others are left as they
            are, without a failure.
    """
    done = [result for result in results if result.problem is None]
    left = [result for result in results if by_filter and result.status == HTTPStatus.FORBIDDEN]
    failed = [result for result in results if result.problem and result not in left]
    if as_json:
        document: dict[str, object] = {_DONE[action]: [str(result.id) for result in done]}
        if action is BatchAction.RETRY:
            document["submitted"] = [str(result.new_id) for result in done]
        if left:
            document["left"] = [str(result.id) for result in left]
        failures = [result.model_dump(mode="json", include={"id", "problem"}) for result in failed]
        output.write_json({**document, "failed": failures})
    else:
        for result in failed:
            output.say(f"Error: {result.problem.detail if result.problem else ''}", "red")
        output.say(f"{_count(len(done)).capitalize()} {_DONE[action]}{_now(action)}.")
        if left:
            belong = (
                "belongs to others, and stays as it is" if len(left) == 1 else "belong to others, and stay"
            )
            output.say(f"{_count(len(left)).capitalize()} {belong}.")
    return ExitCode.FAILED if failed else ExitCode.DONE


def _now(action: BatchAction) -> str:
    return "; running jobs end within seconds" if action is BatchAction.CANCEL else ""


def _count(jobs: int) -> str:
    return f"{jobs:,} job{'' if jobs == 1 else 's'}"
