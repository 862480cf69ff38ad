"""The command that lists the datasets: `trainshed datasets`."""

from collections.abc import Iterable

from shared.schemas import DatasetSummary
from trainshed.cli import options
from trainshed.cli.fitting import FittedTable, number, prose, text
from trainshed.cli.formatting import cell
from trainshed.cli.output import write_result


def datasets(server: options.Server, as_json: options.Json = False) -> None:
    """List the datasets that jobs may use, with their numbers of images."""
    write_result(server.datasets(), dataset_table, as_json=as_json)


def dataset_table(datasets: Iterable[DatasetSummary]) -> FittedTable:
    """Return datasets, one per row; "By default" are the images of a job that does not say how many."""
    table = FittedTable(
        *(text("Dataset"), number("Training"), number("Test"), prose("By default", 1)),
        *(prose("Classes", 2), text("Cached", 3)),
    )
    for dataset in datasets:
        sizes = (
            f"{dataset.default_train_size:,} training",
            f"{dataset.default_validation_size:,} validation",
            f"{dataset.default_evaluation_size:,} evaluation",
        )
        table.add_row(
            cell(dataset.name),
            f"{dataset.train_rows:,}",
            f"{dataset.test_rows:,}",
            ", ".join(sizes),
            cell(", ".join(dataset.class_names)),
            "yes" if dataset.is_cached else "not yet",
        )
    return table
