"""Tables of jobs, models, sweeps, workers, queues and keys."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from shared.lifecycle import JobState
from shared.schemas import (
    ApiKey,
    Attempt,
    Job,
    JobDetail,
    ModelDetail,
    ModelSummary,
    Sweep,
    SweepDetail,
)
from trainshed.cli.fitting import FittedTable, Row, number, prose
from trainshed.cli.formatting import (
    NOTHING,
    cell,
    decimal,
    metric,
    metrics_line,
    minute,
    printable,
    second,
    seconds_until,
    short_id,
    state,
    took,
)
from trainshed.cli.progress import EVALUATED, activity, queue_position, recorded, times

Submitted = Job | ModelSummary | Sweep


def job_table(jobs: Sequence[Job], shown_metric: str = EVALUATED) -> FittedTable:
    """Return jobs, one per row, each by the end of its id, with their last value of a metric."""
    title, by = "Accuracy" if shown_metric == EVALUATED else shown_metric, _by(jobs)
    rows: Iterable[Row] = (
        {
            "Job": short_id(job.id),
            "Kind": job.kind,
            "State": state(job.state),
            "Name": prose(job.name),
            "Epochs": number(f"{job.progress.epoch}/{job.progress.epochs}" if job.progress else NOTHING),
            title: number(metric(job.values.get(shown_metric))),
            "Submitted": number(minute(job.created_at)),
            **by(job),
        }
        for job in jobs
    )
    return FittedTable(rows, optional=("Kind", "By", "Epochs", "Submitted"))


def _by(submitted: Iterable[Submitted]) -> Callable[[Submitted], Row]:
    """Return a function that makes the cell with the submitter, or no cell if no submitter is known."""
    is_known = any(each.submitted_by for each in submitted)
    return lambda each: {"By": prose(each.submitted_by)} if is_known else {}


def job_details(job: JobDetail) -> Group:
    """Return everything about one job except its evaluation."""
    grid = _grid((name, value) for name, value in _facts(job) if value)
    return Group(grid, Text(), _attempts(job.attempts)) if job.attempts else Group(grid)


def _grid(facts: Iterable[tuple[str, RenderableType]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for fact in facts:
        grid.add_row(*fact)
    return grid


def _facts(job: JobDetail) -> Iterator[tuple[str, RenderableType]]:
    """Yield the names and values of a job's facts; a value may be empty."""
    spec = job.spec.model_dump(mode="json", exclude_none=True)
    moments = (("Submitted", job.created_at), ("Started", job.started_at), ("Ended", job.finished_at))
    yield "Job", str(job.id)
    yield "State", state(job.state)
    yield "Phase", activity(job) if job.state is JobState.RUNNING else ""
    yield "Error", Text(printable(f"{job.error.code}: {job.error.message}" if job.error else ""), "red")
    yield "Name", Text(printable(job.name or ""))
    yield "Tags", Text(printable(", ".join(job.tags)))
    yield "Queue", f"{job.queue}, priority {job.priority}"
    yield job.kind.capitalize(), Text(printable("  ".join(f"{name}={value}" for name, value in spec.items())))
    yield "Waiting", queue_position(job)
    yield "Progress", "  ".join(filter(None, (recorded(job), times(job))))
    yield "Metrics", metrics_line(job.values)
    yield "Model", str(job.model_id or "")
    yield from _ran_with(job)
    yield "Retry of", str(job.retry_of or "")
    yield "Submitted by", Text(printable(job.submitted_by or ""))
    yield from ((name, second(at)) for name, at in moments if at)


def _ran_with(job: JobDetail) -> Iterator[tuple[str, RenderableType]]:
    """Yield the version of Trainshed and the data's checksum of the last attempt; empty if unknown."""
    last = job.attempts[-1] if job.attempts else None
    versions = last.versions if last else {}
    commit = f", commit {versions['commit']}" if "commit" in versions else ""
    yield "Trainshed", Text(printable(f"{versions['trainshed']}{commit}" if "trainshed" in versions else ""))
    yield "Data", Text(printable(f"SHA-256 {last.dataset_sha256}" if last and last.dataset_sha256 else ""))


def _attempts(attempts: Sequence[Attempt]) -> FittedTable:
    rows: Iterable[Row] = (
        {
            "#": str(attempt.number),
            "Worker": cell(attempt.worker),
            "Device": cell(attempt.device),
            "Seconds": number(took(attempt.started_at, attempt.finished_at)),
            "Outcome": attempt.outcome or JobState.RUNNING,
            "Error": cell(attempt.error_code),
        }
        for attempt in attempts
    )
    return FittedTable(rows, optional=("Device", "Seconds"))


def key_table(keys: Iterable[ApiKey]) -> FittedTable:
    """Return API keys, one per row, each by the end of its id."""
    rows: Iterable[Row] = (
        {
            "Key": short_id(key.id),
            "Name": prose(key.name),
            "Scope": key.scope,
            "Valid": _validity(key),
            "Weight": number(f"{key.weight:g}"),
            "May run": number(f"{key.max_running:,}" if key.max_running else NOTHING),
            "Team": prose(key.team),
            "Urgent": "yes" if key.may_urgent else NOTHING,
        }
        for key in keys
    )
    return FittedTable(rows, optional=("Urgent", "Team", "Weight", "May run"))


def _validity(key: ApiKey) -> Text:
    if key.revoked_at:
        return Text("revoked", "red")
    if key.expires_at is None:
        return Text("yes")
    if seconds_until(key.expires_at) <= 0:
        return Text("expired", "red")
    return Text(f"until {minute(key.expires_at)}")


def model_details(model: ModelDetail) -> Group:
    """Return everything about a model; its layers, if known, are in tfjs-vis's four columns, with a type."""
    layers: Iterable[Row] = (
        {
            "Layer Name": cell(layer.name),
            "Type": layer.type,
            "Output Shape": Text(f"[{', '.join(['batch', *map(str, layer.output_shape)])}]"),
            "# Of Params": number(f"{layer.parameters:,}"),
            "Trainable": number("yes" if layer.trainable else "no"),
        }
        for layer in model.layers
    )
    table = FittedTable(layers, optional=("Trainable", "Type"))
    parameters = "" if model.parameters is None else f"{model.parameters:,} parameters"
    facts: list[tuple[str, RenderableType]] = [
        ("Model", str(model.id)),
        ("Alias", cell(model.alias)),
        ("Description", Text(printable(model.description or NOTHING, allowed="\n"))),
        ("Kind", ", ".join(filter(None, (model.kind, parameters))) or NOTHING),
        ("Dataset", cell(model.dataset)),
        ("Accuracy", decimal(model.accuracy)),
        ("Trained", second(model.created_at)),
        ("Job", str(model.job_id)),
        ("Files", cell(", ".join(file.name for file in model.artifacts) or None)),
    ]
    if model.submitted_by:
        facts.append(("By", cell(model.submitted_by)))
    return Group(_grid(facts), *((Text(), table) if model.layers else ()))


def model_table(models: Sequence[ModelSummary]) -> FittedTable:
    """Return models, one per row, each by the end of its id."""
    by = _by(models)
    rows: Iterable[Row] = (
        {
            "Model": short_id(model.id),
            "Alias": cell(model.alias),
            "Kind": cell(model.kind),
            "Dataset": cell(model.dataset),
            "Accuracy": number(decimal(model.accuracy)),
            "Trained": number(minute(model.created_at)),
            "Job": short_id(model.job_id),
            **by(model),
        }
        for model in models
    )
    return FittedTable(rows, optional=("Kind", "Job", "By", "Dataset", "Trained"))


def sweep_table(sweeps: Sequence[Sweep]) -> FittedTable:
    """Return sweeps, one per row, each by the end of its id."""
    by = _by(sweeps)
    rows: Iterable[Row] = (
        {
            "Sweep": short_id(sweep.id),
            "Name": prose(sweep.name),
            "Jobs": prose(job_counts(sweep)),
            "Best": number(metric(sweep.best.value if sweep.best else None)),
            **by(sweep),
        }
        for sweep in sweeps
    )
    return FittedTable(rows, optional=("By", "Jobs"))


def sweep_details(sweep: SweepDetail) -> Group:
    """Return a sweep's jobs, one per row, the best first."""
    rows: Iterable[Row] = (
        {
            "Job": short_id(job.job_id),
            "State": state(job.state),
            **{name: cell(str(job.parameters[name])) for name in sweep.parameters},
            sweep.objective.replace("_", " "): number(metric(job.value)),
        }
        for job in sweep.jobs
    )
    # the last parameters are left out first; the first one stays, since the jobs of a sweep differ by it
    _, *others = sweep.parameters
    table = FittedTable(rows, optional=(*reversed(others), "State"))
    head = Text(printable(f"Sweep {sweep.id} {sweep.name or ''}"), "bold")
    return Group(head, Text(job_counts(sweep)), Text(), table)


def job_counts(sweep: Sweep) -> str:
    """Return the number of a sweep's jobs in each state."""
    return ", ".join(f"{count:,} {job_state}" for job_state, count in sweep.states.items())
