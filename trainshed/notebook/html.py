"""Answers as HTML. Colours work on light and dark pages, and text has the page's own colour."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from shared.lifecycle import JobState
from shared.schemas import Evaluation, Job, Predictions, Sweep, SweepDetail
from trainshed.notebook import curves
from trainshed.notebook.curves import Line

_MAX_CLASSES = 50  # a larger matrix has too many cells to read
_CELL = "padding:2px 8px;border-bottom:1px solid #8884;text-align:"
_STATE_COLOURS = {
    JobState.QUEUED: "#b8860b",
    JobState.RUNNING: "#0e8fa8",
    JobState.SUCCEEDED: "#2e9e4f",
    JobState.FAILED: "#d64545",
    JobState.CANCELLED: "#a05fc0",
}


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> str:
    """Return a table, whose first `left` columns are text and the others numbers."""
    align = ["left" if index < left else "right" for index in range(len(headings))]
    head = "".join(
        f'<th style="{_CELL}{side}">{escape(text)}</th>' for text, side in zip(headings, align, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="{_CELL}{side}">{cell(value)}</td>' for value, side in zip(row, align, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse:collapse;color:inherit;font:inherit"><tr>{head}</tr>{body}</table>'


def cell(value: Any) -> str:
    """Return the text of a table's cell: a float from 0.001 with four decimals, a dash for None."""
    if isinstance(value, _Markup):
        return value
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) and abs(value) >= 0.001 else escape(str(value))


class _Markup(str):
    """HTML, not to be escaped."""


def job(shown: Job) -> str:
    """Return a job: its state and progress, its specification, and why it failed."""
    name = f" “{escape(shown.name)}”" if shown.name else ""
    lines = [f"<b>{shown.kind} job</b>{name} <code>{shown.id}</code>: {_state(shown)}"]
    if shown.progress:
        lines.append(_progress(shown))
    if shown.error:
        lines.append(f"{escape(shown.error.code)}: {escape(shown.error.message)}")
    spec = shown.spec.model_dump(mode="json", exclude_none=True)
    lines.append(_facts(spec))
    if (accuracy := shown.values.get("evaluation_accuracy")) is not None:
        lines.append(f"evaluation accuracy <b>{accuracy:.4f}</b>")
    return "<br>".join(lines)


def _state(shown: Job) -> str:
    phase = f", {shown.phase.replace('_', ' ')}" if shown.phase and shown.state is JobState.RUNNING else ""
    return f'<b style="color:{_STATE_COLOURS[shown.state]}">{shown.state}</b>{phase}'


def _progress(shown: Job) -> str:
    progress = shown.progress
    assert progress is not None
    bar = f'<progress max="{progress.steps}" value="{progress.step}"></progress>'
    left = f", {progress.eta_s:,.0f} s left" if progress.eta_s else ""
    metrics = f" &ensp;{_facts(shown.values)}" if shown.values else ""
    return f"{bar} epoch {progress.epoch}/{progress.epochs}{left}{metrics}"


def _facts(facts: Mapping[str, Any]) -> str:
    texts = {
        name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in facts.items()
    }
    return " &ensp;".join(
        f'<span style="opacity:.7">{escape(name)}</span> {escape(text)}' for name, text in texts.items()
    )


def evaluation(shown: Evaluation) -> str:
    """Return an evaluation: its values, the results for each class, and the confusion matrix."""
    head = ", ".join(f"{escape(name)} <b>{cell(value)}</b>" for name, value in shown.values.items())
    size = f", {shown.size:,} {'images' if shown.per_class else 'examples'}" if shown.size is not None else ""
    if not shown.per_class:
        return f"{head}{size}"
    columns = ("count", "correct", "accuracy", "precision", "recall", "f1")
    per_class = table(
        ["class", *columns],
        ([result.title, *(getattr(result, name) for name in columns)] for result in shown.per_class),
    )
    rejected = f", {shown.rejected:,} below the threshold {shown.threshold}" if shown.rejected else ""
    return (
        f'{head}{size}{rejected}<div style="display:flex;flex-wrap:wrap;gap:2em;margin-top:.5em">'
        f"<div>{per_class}</div><div>{_matrix(shown)}</div></div>"
    )


def _matrix(shown: Evaluation) -> str:
    if shown.confusion_matrix is None or len(shown.per_class) > _MAX_CLASSES:
        return ""
    names = [result.title for result in shown.per_class]
    rows = [
        [names[label], *(_count(count, sum(row), label == predicted) for predicted, count in enumerate(row))]
        for label, row in enumerate(shown.confusion_matrix)
    ]
    return table(["true \\ predicted", *(str(result.label) for result in shown.per_class)], rows)


def _count(count: int, of_class: int, is_correct: bool) -> _Markup:
    share = count / of_class if of_class else 0.0
    colour = f"rgba({'59,130,246' if is_correct else '239,68,68'},{0.6 * share:.2f})"
    weight = "bold" if is_correct else "normal"
    return _Markup(
        f'<span style="display:block;padding:0 4px;background:{colour};font-weight:{weight}">{count}</span>'
    )


def sweep(shown: Sweep) -> str:
    """Return a sweep: the number of its jobs by state, and its jobs, the best first."""
    states = ", ".join(f"{count:,} {state}" for state, count in shown.states.items())
    name = f" “{escape(shown.name)}”" if shown.name else ""
    head = f"<b>{shown.strategy} sweep</b>{name} <code>{shown.id}</code>: {states}"
    if not isinstance(shown, SweepDetail):
        return head
    fields = list(shown.parameters)
    rows = [
        [*(job.parameters.get(field) for field in fields), job.value, job.state, job.job_id]
        for job in shown.jobs
    ]
    return f"{head}{table([*fields, shown.objective, 'state', 'job'], rows, len(fields))}"


def predictions(shown: Predictions) -> str:
    """Return the model's id, and the predictions, each with the image as the model saw it."""
    rows = [
        [
            _Markup(
                f'<img src="{escape(one.input)}" width="56" height="56" style="image-rendering:pixelated">'
            ),
            _Markup(f"<b>{'no digit' if one.prediction is None else one.prediction}</b>"),
            max(one.probabilities),
        ]
        for one in shown.data
    ]
    return f"model <code>{shown.model_id}</code>{table(['image', 'prediction', 'probability'], rows, 2)}"


def rows(shown: Sequence[Mapping[str, Any]], left: int = 2) -> str:
    """Return rows with the same or similar columns as a table."""
    headings = list(dict.fromkeys(name for row in shown for name in row))
    return table(headings, ([row.get(name) for name in headings] for row in shown), left)


def charts(lines: Sequence[Line]) -> str:
    """Return curves: a chart for the losses, and one for the accuracies."""
    panels = [
        curves.chart(title, [line for line in lines if title in line.name])
        for title in ("loss", "accuracy")
        if any(title in line.name for line in lines)
    ]
    return f'<div style="display:flex;flex-wrap:wrap;gap:1em">{"".join(panels)}</div>'
