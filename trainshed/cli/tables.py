"""Tables of jobs, models, sweeps, workers, queues and keys."""

from collections.abc import Iterable, Iterator, Sequence

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
from trainshed.cli.fitting import Column, FittedTable, number, prose, text
from trainshed.cli.formatting import (
    NOTHING,
    cell,
    decimal,
    metric,
    minute,
    printable,
    second,
    seconds_until,
    short_id,
    state,
    took,
)
from trainshed.cli.progress import EVALUATED, activity, last_metrics, queue_position, steps


def job_table(jobs: Sequence[Job], shown_metric: str = EVALUATED) -> FittedTable:
    """Return jobs, one per row, each by the end of its id, with their last value of a metric."""
    by, title = _by(jobs), "Accuracy" if shown_metric == EVALUATED else shown_metric
    table = FittedTable(
        *(text("Job"), text("Kind", 3), text("State"), prose("Name")),
        *(number("Epochs", 2), number(title), number("Submitted", 1), *by),
    )
    for job in jobs:
        table.add_row(
            short_id(job.id),
            job.kind,
            state(job.state),
            cell(job.name),
            f"{job.progress.epoch}/{job.progress.epochs}" if job.progress else NOTHING,
            metric(job.values.get(shown_metric)),
            minute(job.created_at),
            *([cell(job.submitted_by)] if by else []),
        )
    return table


def _by(submitted: Iterable[Job | ModelSummary | Sweep]) -> list[Column]:
    """Return the column of who submitted something, unless nobody is known to have done so."""
    return [prose("By", 2)] if any(each.submitted_by for each in submitted) else []


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
    times = (("Submitted", job.created_at), ("Started", job.started_at), ("Ended", job.finished_at))
    yield "Job", str(job.id)
    yield "State", state(job.state)
    yield "Phase", activity(job) if job.state is JobState.RUNNING else ""
    yield "Error", Text(printable(f"{job.error.code}: {job.error.message}" if job.error else ""), "red")
    yield "Name", Text(printable(job.name or ""))
    yield "Tags", Text(printable(", ".join(job.tags)))
    yield "Queue", f"{job.queue}, priority {job.priority}"
    yield job.kind.capitalize(), Text(printable("  ".join(f"{name}={value}" for name, value in spec.items())))
    yield "Waiting", queue_position(job)
    yield "Progress", steps(job)
    yield "Metrics", last_metrics(job)
    yield "Model", str(job.model_id or "")
    yield from _ran_with(job)
    yield "Retry of", str(job.retry_of or "")
    yield "Submitted by", Text(printable(job.submitted_by or ""))
    yield from ((name, second(at)) for name, at in times if at)


def _ran_with(job: JobDetail) -> Iterator[tuple[str, RenderableType]]:
    """Yield which program and which data the last attempt ran with, as far as it is known."""
    last = job.attempts[-1] if job.attempts else None
    versions = last.versions if last else {}
    commit = f", commit {versions['commit']}" if "commit" in versions else ""
    yield "Trainshed", Text(printable(f"{versions['trainshed']}{commit}" if "trainshed" in versions else ""))
    yield "Data", Text(printable(f"SHA-256 {last.dataset_sha256}" if last and last.dataset_sha256 else ""))


def _attempts(attempts: Sequence[Attempt]) -> FittedTable:
    table = FittedTable(
        *(text("#"), text("Worker"), text("Device", 2), number("Seconds", 1), text("Outcome"), text("Error")),
    )
    for attempt in attempts:
        table.add_row(
            str(attempt.number),
            cell(attempt.worker),
            cell(attempt.device),
            took(attempt.started_at, attempt.finished_at),
            attempt.outcome or JobState.RUNNING,
            cell(attempt.error_code),
        )
    return table


def key_table(keys: Iterable[ApiKey]) -> FittedTable:
    """Return API keys, one per row, each by the end of its id."""
    table = FittedTable(
        *(
            text("Key"),
            prose("Name"),
            text("Scope"),
            text("Valid"),
            number("Weight", 2),
            number("May run", 1),
            *(prose("Team", 3), text("Urgent", 4)),
        ),
    )
    for key in keys:
        at_most = f"{key.max_running:,}" if key.max_running else NOTHING
        rights = (cell(key.team), "yes" if key.may_urgent else NOTHING)
        table.add_row(
            short_id(key.id), cell(key.name), key.scope, _validity(key), f"{key.weight:g}", at_most, *rights
        )
    return table


def _validity(key: ApiKey) -> Text:
    if key.revoked_at:
        return Text("revoked", "red")
    if key.expires_at is None:
        return Text("yes")
    if seconds_until(key.expires_at) <= 0:
        return Text("expired", "red")
    return Text(f"until {minute(key.expires_at)}")


def model_details(model: ModelDetail) -> Group:
    """Return everything about a model, and its layers, if they are known, in tfjs-vis's four columns."""
    table = FittedTable(
        *(text("Layer Name"), text("Type", 1), text("Output Shape"), number("# Of Params")),
        number("Trainable", 2),
    )
    for layer in model.layers:
        shape = ", ".join(["batch", *map(str, layer.output_shape)])
        trainable = "yes" if layer.trainable else "no"
        table.add_row(cell(layer.name), layer.type, Text(f"[{shape}]"), f"{layer.parameters:,}", trainable)
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
    table = FittedTable(
        *(text("Model"), text("Alias"), text("Kind", 4), text("Dataset", 2), number("Accuracy")),
        *(number("Trained", 1), text("Job", 3), *by),
    )
    for model in models:
        table.add_row(
            short_id(model.id),
            cell(model.alias),
            cell(model.kind),
            cell(model.dataset),
            decimal(model.accuracy),
            minute(model.created_at),
            short_id(model.job_id),
            *([cell(model.submitted_by)] if by else []),
        )
    return table


def sweep_table(sweeps: Sequence[Sweep]) -> FittedTable:
    """Return sweeps, one per row, each by the end of its id."""
    by = _by(sweeps)
    table = FittedTable(text("Sweep"), prose("Name"), prose("Jobs", 1), number("Best"), *by)
    for sweep in sweeps:
        best = metric(sweep.best.value if sweep.best else None)
        who = [cell(sweep.submitted_by)] if by else []
        table.add_row(short_id(sweep.id), cell(sweep.name), job_counts(sweep), best, *who)
    return table


def sweep_details(sweep: SweepDetail) -> Group:
    """Return a sweep's jobs, one per row, the best first."""
    # the last ones first, and the state before the first: that is what a sweep's jobs differ by
    parameters = (text(name, 2 * place) for place, name in enumerate(sweep.parameters))
    objective = number(sweep.objective.replace("_", " "))
    table = FittedTable(text("Job"), text("State", 1), *parameters, objective)
    for job in sweep.jobs:
        values = (cell(str(job.parameters[name])) for name in sweep.parameters)
        table.add_row(short_id(job.job_id), state(job.state), *values, metric(job.value))
    head = Text(printable(f"Sweep {sweep.id} {sweep.name or ''}"), "bold")
    return Group(head, Text(job_counts(sweep)), Text(), table)


def job_counts(sweep: Sweep) -> str:
    """Return the number of a sweep's jobs in each state."""
    return ", ".join(f"{count:,} {job_state}" for job_state, count in sweep.states.items())
