"""Tables of evaluations and predictions, which fit 80 columns and can be read without colour."""

from collections.abc import Iterable

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shared.schemas import Comparison, Evaluation, MetricName, Misclassified, NoDigitReason, Predictions
from trainshed.cli.formatting import cell, decimal, new_table, printable, short_id, state

_NO_DIGIT = {
    NoDigitReason.BLANK: "the image is blank",
    NoDigitReason.BELOW_THRESHOLD: "no class is probable enough",
}
_FREQUENT_CONFUSION = 0.05  # the share of a class's images that makes a wrong cell bold


def evaluation_tables(evaluation: Evaluation) -> Group:
    """Return an evaluation's summary, table of classes and confusion matrix."""
    summary = f"Evaluation on {evaluation.size:,} images: accuracy {decimal(evaluation.accuracy)}, loss "
    summary += f"{evaluation.loss:.4f}"
    if evaluation.threshold is not None:
        summary += f", {evaluation.rejected:,} rejected below {evaluation.threshold:g}"
    return Group(Text(summary, "bold"), Text(), class_table(evaluation), Text(), confusion_matrix(evaluation))


def class_table(evaluation: Evaluation) -> Table:
    """Return the results of each class, one per row."""
    table = new_table("Class", "Accuracy", "# Samples", "Correct", "Rejected", "Precision", "Recall", "F1")
    for result in evaluation.per_class:
        table.add_row(
            cell(f"{result.label} {result.name}"),
            decimal(result.accuracy),
            f"{result.count:,}",
            f"{result.correct:,}",
            f"{result.rejected:,}",
            decimal(result.precision),
            decimal(result.recall),
            decimal(result.f1),
        )
    return table


def confusion_matrix(evaluation: Evaluation) -> Group:
    """Return the confusion matrix: true classes in rows, predictions in columns, the diagonal in brackets."""
    matrix = evaluation.confusion_matrix
    names = [Text(printable(f"{result.label} {result.name}")) for result in evaluation.per_class]
    left = max(name.cell_len for name in names)
    width = max(5, max(len(str(count)) for row in matrix for count in row) + 2)
    labels = "".join(f"{label} ".rjust(width) for label in range(len(matrix)))
    head = Text(" " * left) + Text(labels, style="bold")
    rows = []
    for label, (name, counts) in enumerate(zip(names, matrix, strict=True)):
        name.pad_right(left - name.cell_len)
        cells = (
            _matrix_cell(count, sum(counts), width, on_diagonal=label == predicted)
            for predicted, count in enumerate(counts)
        )
        rows.append(Text.assemble(name, *cells))
    title = "Confusion matrix: rows are the true class, columns the prediction"
    return Group(Text(title, style="italic"), Text(), head, *rows)


def _matrix_cell(count: int, row_total: int, width: int, *, on_diagonal: bool) -> Text:
    if on_diagonal:
        text = f"[{count}]"
        return Text(" " * (width - len(text))) + Text(text, style="bold white on blue")
    if count == 0:
        return Text("· ".rjust(width), style="dim")
    frequent = count >= _FREQUENT_CONFUSION * row_total
    return Text(f"{count} ".rjust(width), style="bold red" if frequent else "red")


def misclassified_table(images: Iterable[Misclassified]) -> Table:
    """Return misclassified images, one per row."""
    table = new_table("Image", "Class", "Predicted", "Probability", left=0)
    for image in images:
        table.add_row(str(image.index), str(image.label), str(image.predicted), decimal(image.probability))
    return table


def comparison_table(comparison: Comparison) -> Table:
    """Return jobs, one per column, with their states, differing parameters, metrics and evaluations."""
    table = new_table("", *(short_id(job.id) for job in comparison.jobs))
    table.add_row("state", *(state(job.state) for job in comparison.jobs))
    for field, values in comparison.differing.items():
        table.add_row(field, *(cell(None if value is None else str(value)) for value in values))
    for metric in MetricName:
        table.add_row(metric, *(decimal(getattr(job.metrics, metric, None)) for job in comparison.jobs))
    for metric in (MetricName.ACCURACY, MetricName.LOSS):
        results = (getattr(evaluation, metric, None) for evaluation in comparison.evaluations)
        table.add_row(f"evaluation {metric}", *map(decimal, results))
    return table


def prediction(predictions: Predictions) -> Group:
    """Return the prediction for one image, and the probability of each class."""
    [result] = predictions.data
    table = new_table("Class", "Probability", "")
    for label, probability in enumerate(result.probabilities):
        table.add_row(str(label), decimal(probability), ProgressBar(total=1, completed=probability, width=30))
    head = f"No digit found: {_NO_DIGIT[result.reason]}" if result.reason else str(result.prediction)
    return Group(Text(head, "bold"), Text(f"by model {predictions.model_id}", "dim"), table)
