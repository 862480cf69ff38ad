"""Operations on the results of jobs: metrics, evaluations, images, weights."""

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

from shared import schemas
from shared.schemas import Page, Part, Resolution
from trainshed.items import AsyncItems
from trainshed.notebook.answers import Comparison, JobEvaluation, JobMetrics, ManyMetrics, Metrics
from trainshed.operations.base import LAST, JobLike, Operations, comma_separated
from trainshed.operations.fields import AnyPart, AnyResolution, AnySplit


class Results(Operations):
    """Results of jobs."""

    async def metrics(
        self,
        job: JobLike = LAST,
        resolution: AnyResolution = Resolution.EPOCH,
        *,
        names: Sequence[str] = (),
        max_points: int | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> Metrics:
        """Return a job's metrics so far: those with these names, or all; downsampled to `max_points` each.

        `first` and `last` are the range of epochs, or steps over all epochs, by the resolution.
        """
        query = _selection(resolution, names, max_points, first, last)
        return await self._get(Metrics, f"/v1/jobs/{await self._job_id(job)}/metrics", **query)

    async def metrics_of(
        self,
        jobs: Sequence[JobLike],
        resolution: AnyResolution = Resolution.EPOCH,
        *,
        names: Sequence[str] = (),
        max_points: int | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> tuple[JobMetrics, ...]:
        """Return the metrics of up to 50 jobs, in this order; other arguments are as in `metrics`."""
        query = _selection(resolution, names, max_points, first, last)
        return (await self._get(ManyMetrics, "/v1/metrics", jobs=await self._job_ids(jobs), **query)).data

    async def metrics_file(
        self,
        jobs: Sequence[JobLike],
        file_format: Literal["csv", "ndjson"],
        resolution: AnyResolution = Resolution.EPOCH,
        *,
        names: Sequence[str] = (),
        max_points: int | None = None,
        first: int | None = None,
        last: int | None = None,
    ) -> str:
        """Return the metrics of up to 50 jobs as text, one point per line; arguments as in `metrics_of`."""
        query = _selection(resolution, names, max_points, first, last)
        ids = await self._job_ids(jobs)
        return (await self._bytes("/v1/metrics", format=file_format, jobs=ids, **query)).decode()

    async def compare(self, *jobs: JobLike) -> Comparison:
        """Compare two to ten jobs: their differing parameters, metrics and evaluations."""
        return await self._get(Comparison, "/v1/compare", jobs=await self._job_ids(jobs))

    async def job_images(
        self, job: JobLike, part: AnyPart = Part.TRAINING, *, count: int = 20
    ) -> schemas.JobImages:
        """Return the first images, up to 200, of a job's training, validation or evaluation."""
        path = f"/v1/jobs/{await self._job_id(job)}/images"
        return await self._get(schemas.JobImages, path, part=part, count=count)

    async def weights(self, job: JobLike) -> schemas.KeptWeights:
        """Return the epochs whose weights a job has kept (`keep_weights`), and the layout of their bytes."""
        return await self._get(schemas.KeptWeights, f"/v1/jobs/{await self._job_id(job)}/weights")

    async def weights_after(self, job: JobLike, epoch: int) -> bytes:
        """Return the weights after an epoch of a job: float32, little-endian, the arrays of `weights`."""
        return await self._bytes(f"/v1/jobs/{await self._job_id(job)}/weights/{epoch}")

    async def evaluation(self, job: JobLike = LAST) -> JobEvaluation:
        """Return the evaluation of a succeeded job; the server responds with 404 if the job has none."""
        return await self._get(JobEvaluation, f"/v1/jobs/{await self._job_id(job)}/evaluation")

    async def artifacts(self, job: JobLike = LAST) -> tuple[schemas.Artifact, ...]:
        """Return descriptions of the files that a job has made, including its model's files."""
        return (await self._get(schemas.Artifacts, f"/v1/jobs/{await self._job_id(job)}/artifacts")).data

    async def artifact(self, job: JobLike, name: str) -> bytes:
        """Return a file that a job has made."""
        return await self._bytes(f"/v1/jobs/{await self._job_id(job)}/artifacts/{quote(name, safe='')}")

    def misclassified(
        self, job: JobLike = LAST, *, label: int | None = None, predicted: int | None = None
    ) -> AsyncItems[schemas.MisclassifiedImage]:
        """Iterate over the images that a job misclassified: all, of one class, or predicted as one class."""
        schema = Page[schemas.MisclassifiedImage]
        return AsyncItems(self._job_items(schema, job, "misclassified", label=label, predicted=predicted))

    def predictions(
        self,
        job: JobLike = LAST,
        *,
        label: int | None = None,
        predicted: int | None = None,
        correct: bool | None = None,
    ) -> AsyncItems[schemas.ImagePrediction]:
        """Iterate over the predictions of a job's evaluation for the images that match, by index."""
        schema, query = Page[schemas.ImagePrediction], {"label": label, "predicted": predicted}
        path = "evaluation/predictions"
        return AsyncItems(self._job_items(schema, job, path, correct=correct, **query))

    async def predictions_file(self, job: JobLike = LAST) -> bytes:
        """Return all predictions of a job's evaluation as little-endian bytes, for n images by index.

        First the probabilities, (n, classes) as float32; then the images' indices, (n,) as uint32; then
        their labels, (n,) as uint8, or as uint16 of more than 256 classes.
        """
        path = f"/v1/jobs/{await self._job_id(job)}/evaluation/predictions"
        return await self._bytes(path, format="binary")

    async def datasets(self) -> tuple[schemas.DatasetSummary, ...]:
        """Return the datasets that jobs may use."""
        return (await self._get(schemas.Datasets, "/v1/datasets")).data

    async def images(
        self, dataset: str, indices: Sequence[int], *, split: AnySplit = schemas.Split.TEST
    ) -> bytes:
        """Return up to 100 images of a dataset as one PNG file, 28 pixels wide, one below the other."""
        path = f"/v1/datasets/{quote(dataset, safe='')}/images"
        return await self._bytes(path, indices=comma_separated(indices), split=split)


def _selection(
    resolution: AnyResolution,
    names: Sequence[str],
    max_points: int | None,
    first: int | None,
    last: int | None,
) -> dict[str, Any]:
    span = {"from": first, "to": last}
    return {
        "resolution": resolution,
        "names": comma_separated(names) or None,
        "max_points": max_points,
        **span,
    }
