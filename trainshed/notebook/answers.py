"""The server's answers with the representations that notebooks use: HTML and DataFrames."""

from typing import TYPE_CHECKING

from shared import schemas
from trainshed.notebook import curves, frames, html

if TYPE_CHECKING:
    import pandas


class Job(schemas.Job):
    """A training or evaluation job."""

    def _repr_html_(self) -> str:
        return html.job(self)


class JobDetail(Job, schemas.JobDetail):
    """A job with its attempts and its position in the queue."""


class Metrics(schemas.Metrics):
    """A job's training metrics recorded so far."""

    def to_frame(self) -> "pandas.DataFrame":
        """Return a DataFrame: a row for each epoch or step, from 0, and a column for each metric."""
        return frames.metrics_frame(self)

    def _repr_html_(self) -> str:
        return html.charts(curves.lines_of(self))


class JobMetrics(Metrics, schemas.JobMetrics):
    """The training metrics of one of several jobs."""


class ManyMetrics(schemas.ManyMetrics):
    """The training metrics of several jobs, in the order in which the request names them."""

    data: tuple[JobMetrics, ...]


class JobEvaluation(schemas.JobEvaluation):
    """The evaluation that a job made, with its model and dataset."""

    def to_frame(self) -> "pandas.DataFrame":
        """Return a DataFrame of the results of each class, by label; without classes, of the values."""
        if self.per_class:
            return frames.frame((result.model_dump() for result in self.per_class), "label")
        return frames.frame(({"name": name, "value": value} for name, value in self.values.items()), "name")

    def _repr_html_(self) -> str:
        return html.evaluation(self)


class SweepDetail(schemas.SweepDetail):
    """A sweep with all its jobs, best first; jobs without a value of the objective come last."""

    def to_frame(self) -> "pandas.DataFrame":
        """Return a DataFrame with a row for each job, the best first: its parameters and its value."""
        return frames.sweep_frame(self)

    def _repr_html_(self) -> str:
        return html.sweep(self)


class Comparison(schemas.Comparison):
    """Jobs side by side; every list has one entry for each job, in the order in which they were named."""

    def to_frame(self) -> "pandas.DataFrame":
        """Return a DataFrame with a row for each job: the fields that differ, and its results."""
        return frames.comparison_frame(self)

    def _repr_html_(self) -> str:
        return html.rows(frames.comparison_rows(self)) + html.charts(curves.aligned_lines(self))


class Predictions(schemas.Predictions):
    """The predictions for the images of a request, and the model that made them."""

    def _repr_html_(self) -> str:
        return html.predictions(self)
