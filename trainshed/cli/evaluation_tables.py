"""Tables of evaluations and predictions, which can be read without colour."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.text import Text

from shared.schemas import (
    ClassResult,
    Comparison,
    Evaluation,
    Misclassified,
    NoDigitReason,
    Predictions,
    in_order,
)
from trainshed.cli.fitting import FittedTable, Row, number
from trainshed.cli.formatting import cell, decimal, metric, printable, short_id, state

_NO_DIGIT = {
    NoDigitReason.BLANK: "the image is blank",
    NoDigitReason.BELOW_THRESHOLD: "no class is probable enough",
}
_SUMMARIZED = ("accuracy", "loss")
_MAX_CLASSES = 30  # a larger matrix does not fit a terminal
_FREQUENT_CONFUSION = 0.05  # the share of a class's images that makes a wrong cell bold


def evaluation_tables(evaluation: Evaluation) -> Group:
    """Return an evaluation's summary and values; for a classification also classes and confusion matrix."""
    parts: list[RenderableType] = [Text(_summary(evaluation), "bold")]
    if others := {name: evaluation.values[name] for name in evaluation.values if name not in _SUMMARIZED}:
        parts += [Text(), value_table(others)]
    if evaluation.per_class:
        parts += [Text(), class_table(evaluation), Text(), _matrix(evaluation)]
    return Group(*parts)


def _summary(evaluation: Evaluation) -> str:
    """Return the number of evaluated examples, and the accuracy and loss if known."""
    noun = "images" if evaluation.per_class else "examples"
    text = "Evaluation" if evaluation.size is None else f"Evaluation on {evaluation.size:,} {noun}"
    known = [
        f"{name} {decimal(evaluation.values[name])}" for name in _SUMMARIZED if name in evaluation.values
    ]
    text += f": {', '.join(known)}" if known else ""
    if evaluation.threshold is not None:
        text += f", {evaluation.rejected:,} rejected below {evaluation.threshold:g}"
    return text


def value_table(values: Mapping[str, float | None]) -> FittedTable:
    """Return named values, one per row."""
    return FittedTable(
        {"Name": cell(name), "Value": number(decimal(value))} for name, value in values.items()
    )


def _matrix(evaluation: Evaluation) -> RenderableType:
    """Return the confusion matrix, or a text that says why it is not shown."""
    if not evaluation.has_predictions:
        return Text("No confusion matrix: the predictions of single images are not stored.", "dim")
    if evaluation.confusion_matrix is None or len(evaluation.per_class) > _MAX_CLASSES:
        return Text(
            f"The confusion matrix of {len(evaluation.per_class):,} classes is not shown: see --json.", "dim"
        )
    return ConfusionMatrix(evaluation)


def class_table(evaluation: Evaluation) -> FittedTable:
    """Return the results of each class, one per row."""
    rows: Iterable[Row] = (
        {
            "Class": cell(_name(result)),
            "Accuracy": number(decimal(result.accuracy)),
            "# Samples": number(f"{result.count:,}"),
            "Correct": number(f"{result.correct:,}"),
            "Rejected": number(f"{result.rejected:,}"),
            "Precision": number(decimal(result.precision)),
            "Recall": number(decimal(result.recall)),
            "F1": number(decimal(result.f1)),
        }
        for result in evaluation.per_class
    )
    return FittedTable(rows, optional=("Rejected", "Correct", "F1", "Recall", "Precision"))


def _name(result: ClassResult) -> str:
    """Return a class's number, with its name if it has one."""
    return f"{result.label} {result.name or ''}".rstrip()


class ConfusionMatrix:
    """The confusion matrix: true classes in rows, predictions in columns, the diagonal in brackets.

    Where the matrix is too wide, rows have only the number of their class; if it is still too wide, the
    diagonal has no brackets.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._counts = evaluation.confusion_matrix or ()
        self._names = [printable(_name(result)) for result in evaluation.per_class]
        self._labels = [str(result.label) for result in evaluation.per_class]

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield Text("Confusion matrix: rows are the true class, columns the prediction", style="italic")
        yield Text()
        digits = max(len(str(count)) for row in self._counts for count in row)
        for names, in_brackets in ((self._names, True), (self._labels, True), (self._labels, False)):
            left = max(map(cell_len, names))
            width = max(5, digits + 2) if in_brackets else digits + 1
            if left + width * len(names) <= options.max_width:
                break
        yield Text(" " * left) + Text("".join(_aligned(label, width) for label in self._labels), style="bold")
        for label, (name, counts) in enumerate(zip(names, self._counts, strict=True)):
            cells = (
                _diagonal_cell(f"[{count}]" if in_brackets else f"{count} ", width)
                if predicted == label
                else _matrix_cell(count, sum(counts), width)
                for predicted, count in enumerate(counts)
            )
            yield Text.assemble(set_cell_size(name, left), *cells)


def _aligned(value: object, width: int) -> str:
    """Return a value aligned to the right, with a space in place of a closing bracket."""
    return f"{value} ".rjust(width)


def _diagonal_cell(text: str, width: int) -> Text:
    return Text.assemble(" " * (width - len(text)), (text, "bold white on blue"))


def _matrix_cell(count: int, row_total: int, width: int) -> Text:
    if count == 0:
        return Text(_aligned("·", width), style="dim")
    frequent = count >= _FREQUENT_CONFUSION * row_total
    return Text(_aligned(count, width), style="bold red" if frequent else "red")


def misclassified_table(images: Iterable[Misclassified]) -> FittedTable:
    """Return misclassified images, one per row."""
    return FittedTable(
        {
            "Image": number(str(image.index)),
            "Class": number(str(image.label)),
            "Predicted": number(str(image.predicted)),
            "Probability": number(decimal(image.probability)),
        }
        for image in images
    )


def comparison_table(comparison: Comparison) -> FittedTable:
    """Return jobs, one per column, with their states, differing parameters and last metrics."""
    facts: dict[str, Iterable[str | Text]] = {"state": (state(job.state) for job in comparison.jobs)}
    for field, values in comparison.differing.items():
        facts[field] = (cell(None if value is None else str(value)) for value in values)
    for name in in_order({name for job in comparison.jobs for name in job.values}):
        facts[name] = [metric(job.values.get(name)) for job in comparison.jobs]
    heads = [short_id(job.id) for job in comparison.jobs]
    return FittedTable(
        {"": cell(name), **dict(zip(heads, map(number, values), strict=True))}
        for name, values in facts.items()
    )


def prediction(predictions: Predictions, class_names: Sequence[str] = ()) -> Group:
    """Return the prediction for one image, and the probability of each class, by name if names are known."""
    [result] = predictions.data
    is_named = len(class_names) == len(result.probabilities)
    names = class_names if is_named else [str(label) for label in range(len(result.probabilities))]
    rows: Iterable[Row] = (
        {
            "Class": cell(name),
            "Probability": number(decimal(probability)),
            "": ProgressBar(total=1, completed=probability, width=30),
        }
        for name, probability in zip(names, result.probabilities, strict=True)
    )
    found = "" if result.prediction is None else printable(names[result.prediction])
    head = f"No digit found: {_NO_DIGIT[result.reason]}" if result.reason else found
    return Group(Text(head, "bold"), Text(f"by model {predictions.model_id}", "dim"), FittedTable(rows))
