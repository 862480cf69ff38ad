"""The command that lists the datasets: `trainshed datasets`."""

from collections.abc import Iterable

from shared.schemas import DatasetSummary
from trainshed.cli import options
from trainshed.cli.fitting import FittedTable, Row, number, prose
from trainshed.cli.formatting import cell
from trainshed.cli.output import write_result


def datasets(server: options.Server, as_json: options.Json = False) -> None:
    """List the datasets that jobs may use, with their numbers of images."""
    write_result(server.datasets(), dataset_table, as_json=as_json)


def dataset_table(datasets: Iterable[DatasetSummary]) -> FittedTable:
    """Return datasets, one per row; the column "By default" has the default sizes of a job."""
    rows: Iterable[Row] = (
        {
            "Dataset": cell(dataset.name),
            "Training": number(f"{dataset.train_rows:,}"),
            "Test": number(f"{dataset.test_rows:,}"),
            "By default": prose(
                f"{dataset.default_train_size:,} training, {dataset.default_validation_size:,} validation, "
                f"{dataset.default_evaluation_size:,} evaluation"
            ),
            "Classes": prose(", ".join(dataset.class_names)),
            "Cached": "yes" if dataset.is_cached else "not yet",
        }
        for dataset in datasets
    )
    return FittedTable(rows, optional=("Cached", "Classes", "By default"))
