"""What people see in a terminal: tables that fit 80 columns, and can be read without colour."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shared.lifecycle import JobState
from shared.schemas import (
    ApiKey,
    Attempt,
    Comparison,
    Evaluation,
    Job,
    JobDetail,
    Misclassified,
    ModelSummary,
    Prediction,
    Priority,
    Queue,
    Sweep,
    SweepDetail,
    WaitingFor,
    Worker,
)

SHORT_ID = 8  # a UUIDv7 begins with the time, so it is the end that tells jobs apart

_STATE_STYLES = {
    JobState.QUEUED: "yellow",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "magenta",
}
_NOTHING = "-"
_MANY = 0.05  # of a class's images, in one wrong cell of the matrix


def class_table(evaluation: Evaluation) -> Table:
    """The per-class table."""
    table = _table("Class", "Accuracy", "# Samples", "Correct", "Rejected", "Precision", "Recall", "F1")
    for result in evaluation.per_class:
        table.add_row(
            _word(f"{result.label} {result.name}"),
            ratio(result.accuracy),
            f"{result.count:,}",
            f"{result.correct:,}",
            f"{result.rejected:,}",
            ratio(result.precision),
            ratio(result.recall),
            ratio(result.f1),
        )
    return table


def confusion_matrix(evaluation: Evaluation) -> Group:
    """The confusion matrix: rows are true classes, columns predicted ones; the diagonal is in brackets."""
    matrix = evaluation.confusion_matrix
    names = [_plain(f"{result.label} {result.name}") for result in evaluation.per_class]
    left = max(name.cell_len for name in names)
    width = max(5, max(len(str(count)) for row in matrix for count in row) + 2)
    head = Text(" " * left) + Text(
        "".join(f"{label} ".rjust(width) for label in range(len(matrix))), style="bold"
    )
    rows = []
    for label, (name, counts) in enumerate(zip(names, matrix, strict=True)):
        name.pad_right(left - name.cell_len)
        cells = (_cell(count, sum(counts), width, label == at) for at, count in enumerate(counts))
        rows.append(Text.assemble(name, *cells))
    title = "Confusion matrix: rows are the true class, columns the prediction"
    return Group(Text(title, style="italic"), Text(), head, *rows)


def _cell(count: int, of: int, width: int, on_diagonal: bool) -> Text:
    if on_diagonal:
        shown = f"[{count}]"
        return Text(" " * (width - len(shown))) + Text(shown, style="bold white on blue")
    if count == 0:
        return Text("· ".rjust(width), style="dim")
    return Text(f"{count} ".rjust(width), style="bold red" if count >= _MANY * of else "red")


def evaluation_tables(evaluation: Evaluation) -> Group:
    """An evaluation in full."""
    summary = f"Evaluation on {evaluation.size:,} images: accuracy {ratio(evaluation.accuracy)}, loss "
    summary += f"{evaluation.loss:.4f}"
    if evaluation.threshold is not None:
        summary += f", {evaluation.rejected:,} rejected below {evaluation.threshold:g}"
    return Group(Text(summary, "bold"), Text(), class_table(evaluation), Text(), confusion_matrix(evaluation))


def job_table(jobs: Iterable[Job]) -> Table:
    """Jobs, one a row; each by the end of its id."""
    table = _table("Job", "Kind", "State", "Name", "Epochs", "Accuracy", "Submitted", left=4)
    for job in jobs:
        table.add_row(
            short_id(job),
            job.kind,
            state(job.state),
            _word(job.name or _NOTHING),
            f"{job.progress.epoch}/{job.progress.epochs}" if job.progress else _NOTHING,
            ratio(job.evaluation_accuracy),
            f"{_local(job.created_at):%Y-%m-%d %H:%M}",
        )
    return table


def job_sheet(job: JobDetail) -> Group:
    """Everything about one job but its evaluation."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in _facts(job):
        if value:
            grid.add_row(name, value)
    if not job.attempts:
        return Group(grid)
    return Group(grid, Text(), _attempts(job.attempts))


def _facts(job: JobDetail) -> Iterator[tuple[str, RenderableType]]:
    """What there is to say; a value that is empty is left out by the caller."""
    spec = job.spec.model_dump(mode="json", exclude_none=True)
    times = (("Submitted", job.created_at), ("Started", job.started_at), ("Ended", job.finished_at))
    yield "Job", str(job.id)
    yield "State", state(job.state)
    yield "Phase", activity(job) if job.state is JobState.RUNNING else ""
    yield "Error", _plain(f"{job.error.code}: {job.error.message}" if job.error else "", "red")
    yield "Name", _plain(job.name or "")
    yield "Tags", _plain(", ".join(job.tags))
    yield "Queue", f"{job.queue}, priority {job.priority}"
    yield job.kind.capitalize(), _plain("  ".join(f"{name}={value}" for name, value in spec.items()))
    yield "Waiting", _wait(job)
    yield "Progress", _steps(job)
    yield "Metrics", metrics_line(job)
    yield "Model", str(job.model_id or "")
    yield "Retry of", str(job.retry_of or "")
    yield from ((name, f"{_local(moment):%Y-%m-%d %H:%M:%S}") for name, moment in times if moment)


def _attempts(attempts: Sequence[Attempt]) -> Table:
    table = _table("#", "Worker", "Device", "Seconds", "Outcome", "Error", left=6)
    for attempt in attempts:
        took = attempt.finished_at - attempt.started_at if attempt.finished_at else None
        table.add_row(
            str(attempt.number),
            _word(attempt.worker),
            _word(attempt.device),
            f"{took.total_seconds():,.1f}" if took else _NOTHING,
            attempt.outcome or "running",
            _word(attempt.error_code or _NOTHING),
        )
    return table


def queue_table(queues: Iterable[Queue]) -> Table:
    """Queues, one a row."""
    table = _table("Queue", "State", "High", "Normal", "Low", "Oldest", "Running", "Workers", "Slots", left=2)
    for queue in queues:
        oldest = queue.oldest_waiting_s
        table.add_row(
            _word(queue.name),
            Text("paused", "yellow") if queue.paused else Text("open"),
            *(f"{queue.queued[priority]:,}" for priority in Priority),
            _NOTHING if oldest is None else f"{oldest:,.0f} s",
            f"{queue.running:,}",
            f"{queue.workers:,}",
            f"{queue.slots:,}",
        )
    return table


def worker_table(workers: Iterable[Worker]) -> Table:
    """Workers, one a row."""
    table = _table("Worker", "State", "Queues", "Devices", "Slots", "Heard of", left=4)
    for worker in workers:
        table.add_row(
            _word(worker.id),
            worker.state,
            _word(", ".join(worker.queues)),
            _word(", ".join(worker.devices) or "CPU"),
            f"{worker.busy_slots}/{worker.slots}",
            f"{worker.heartbeat_age_s:,.0f} s ago",
        )
    return table


def key_table(keys: Iterable[ApiKey]) -> Table:
    """API keys, one a row; by their whole ids, which `keys revoke` asks for."""
    table = _table("Key", "Name", "Scope", "Valid", left=4)
    for key in keys:
        until = f"until {_local(key.expires_at):%Y-%m-%d %H:%M}" if key.expires_at else "yes"
        valid = "revoked" if key.revoked_at else until
        table.add_row(str(key.id), _word(key.name), key.scope, valid)
    table.columns[0].no_wrap = True
    return table


def model_table(model: ModelSummary) -> Group:
    """A model's layers, with tfjs-vis's four columns and the totals."""
    table = _table("Layer Name", "Type", "Output Shape", "# Of Params", "Trainable", left=3)
    for layer in model.layers:
        shape = ", ".join(["batch", *map(str, layer.output_shape)])
        trainable = "yes" if layer.trainable else "no"
        table.add_row(_word(layer.name), layer.type, Text(f"[{shape}]"), f"{layer.parameters:,}", trainable)
    head = f"Model {model.id}, {model.kind}, trained on {model.dataset} by job"
    foot = f"{model.parameters:,} parameters, accuracy {ratio(model.accuracy)}"
    return Group(_plain(head, "bold"), Text(str(model.job_id), "bold"), Text(), table, Text(), Text(foot))


def models_table(models: Iterable[ModelSummary]) -> Table:
    """Models, one a row; each by the end of its job's id, which names it in every command."""
    table = _table("Of job", "Alias", "Kind", "Dataset", "Accuracy", "Trained", left=4)
    for model in models:
        trained = f"{_local(model.created_at):%Y-%m-%d %H:%M}"
        words = (_word(model.alias or _NOTHING), model.kind, _word(model.dataset))
        table.add_row(str(model.job_id)[-SHORT_ID:], *words, ratio(model.accuracy), trained)
    return table


def prediction(found: Prediction) -> Group:
    """What a model says of an image, and how sure it is of each class."""
    table = _table("Class", "Probability", "")
    for label, probability in enumerate(found.probabilities):
        table.add_row(str(label), ratio(probability), ProgressBar(total=1, completed=probability, width=30))
    why = {"blank": "the picture is blank", "below_threshold": "no class is likely enough", None: ""}
    said = f"No digit found: {why[found.reason]}" if found.prediction is None else str(found.prediction)
    return Group(Text(said, "bold"), Text(), table)


def misclassified_table(images: Iterable[Misclassified]) -> Table:
    """Images that were got wrong, one a row."""
    table = _table("Image", "Class", "Taken for", "Probability", left=0)
    for image in images:
        table.add_row(str(image.index), str(image.label), str(image.predicted), ratio(image.probability))
    return table


def comparison(found: Comparison) -> Table:
    """Jobs side by side: a column a job, a row for what differs and for what came out."""
    table = _table("", *(short_id(job) for job in found.jobs))
    table.add_row("state", *(state(job.state) for job in found.jobs))
    for field, values in found.differing.items():
        table.add_row(field, *(_NOTHING if value is None else _word(str(value)) for value in values))
    for field in ("loss", "accuracy", "val_loss", "val_accuracy"):
        table.add_row(field, *(ratio(getattr(job.metrics, field, None)) for job in found.jobs))
    for field in ("accuracy", "loss"):
        measured = (getattr(evaluation, field, None) for evaluation in found.evaluations)
        table.add_row(f"evaluation {field}", *map(ratio, measured))
    return table


def sweeps_table(sweeps: Iterable[Sweep]) -> Table:
    """Sweeps, one a row."""
    table = _table("Sweep", "Name", "Jobs", "Best", left=3)
    for sweep in sweeps:
        best = ratio(sweep.best.value if sweep.best else None)
        table.add_row(str(sweep.id), _word(sweep.name or _NOTHING), states(sweep), best)
    return table


def sweep_sheet(sweep: SweepDetail) -> Group:
    """A sweep's jobs, one a row, the best first."""
    table = _table("Job", "State", *sweep.parameters, sweep.objective, left=2)
    for job in sweep.jobs:
        values = (_word(str(job.parameters[name])) for name in sweep.parameters)
        table.add_row(str(job.job_id)[-SHORT_ID:], state(job.state), *values, ratio(job.value))
    return Group(_plain(f"Sweep {sweep.id} {sweep.name or ''}", "bold"), Text(states(sweep)), Text(), table)


def states(sweep: Sweep) -> str:
    """How many of a sweep's jobs are in each state."""
    return ", ".join(f"{count:,} {job_state}" for job_state, count in sweep.states.items())


def progress(job: JobDetail) -> Group:
    """A job's progress in two lines, for a display that is drawn again and again."""
    line = Table.grid(padding=(0, 2), expand=True)
    line.add_column(width=14)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    total = job.progress.epochs if job.progress else None
    done = job.progress.epoch if job.progress else 0
    waiting = job.state is not JobState.RUNNING
    bar = ProgressBar(total=total if waiting or total else None, completed=done)
    attempt = f"  attempt {job.attempt}" if job.attempt > 1 else ""
    line.add_row(activity(job), bar, f"{_steps(job)}{attempt}")
    return Group(line, Text(metrics_line(job)))


def activity(job: Job) -> Text:
    """What the job is doing, in a word or two."""
    if job.state is JobState.RUNNING and job.cancel_requested_at:
        return Text("cancelling", style=_STATE_STYLES[JobState.CANCELLED])
    if job.state is JobState.RUNNING and job.phase:
        return Text(job.phase.replace("_", " "), style=_STATE_STYLES[JobState.RUNNING])
    return state(job.state)


def _steps(job: Job) -> str:
    made = job.progress
    if not made:
        return ""
    eta = f"  {made.eta_s:,.0f} s to go" if made.eta_s else ""
    return f"epoch {made.epoch}/{made.epochs}  step {made.step:,}/{made.steps:,}{eta}"


_WAITS = {
    WaitingFor.PAUSED: "its queue is paused",
    WaitingFor.NO_WORKER_ONLINE: "no worker of its queue takes jobs",
    WaitingFor.SCHEDULED: "until it is due",
    WaitingFor.ALL_BUSY: "every worker is busy",
}


def _wait(job: JobDetail) -> str:
    if job.queue_position is None:
        return ""
    why = f": {_WAITS[job.waiting_for]}" if job.waiting_for else ""
    return f"number {job.queue_position:,} in its queue{why}"


def metrics_line(job: Job) -> str:
    """The newest epoch's four numbers."""
    if job.metrics is None:
        return ""
    return numbers(job.metrics.model_dump())


def numbers(values: dict[str, float]) -> str:
    """One epoch's numbers in a line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())


def setback(attempt: Attempt) -> Text:
    """Why an attempt was not the last."""
    why = f" ({attempt.error_code}: {attempt.error_message})" if attempt.error_code else ""
    return _plain(f"attempt {attempt.number} {attempt.outcome}{why}: the job waits for another", "yellow")


def state(job_state: JobState) -> Text:
    """A state in its colour."""
    return Text(job_state, style=_STATE_STYLES[job_state])


def short_id(job: Job) -> str:
    """The end of a job's id, which every command takes for the whole."""
    return str(job.id)[-SHORT_ID:]


def ratio(value: float | None) -> str:
    """A number from 0 to 1, or a dash where there is none."""
    return _NOTHING if value is None else f"{value:.4f}"


def _table(*names: str, left: int = 1) -> Table:
    """An empty table whose first `left` columns are words, which may be cut short, and the rest numbers."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for at, name in enumerate(names):
        table.add_column(name, justify="left" if at < left else "right", no_wrap=at >= left)
    return table


def _word(text: str) -> Text:
    """One cell of a table: on one line, and cut short where the table is too wide."""
    return Text(_plain(text).plain, no_wrap=True, overflow="ellipsis")


def _plain(text: str, style: str = "") -> Text:
    """Text of a user's, without what would steer the terminal."""
    return Text("".join(char if char.isprintable() else "?" for char in text), style=style)


def _local(moment: datetime) -> datetime:
    return moment.astimezone()
