"""Operations on jobs: submit, read, list, change."""

from collections.abc import Sequence
from typing import Unpack

from shared import schemas
from shared.schemas import Page
from trainshed.items import AsyncItems
from trainshed.notebook.answers import Job, JobDetail
from trainshed.operations.base import LAST, PAGE_SIZE, JobLike, ModelLike, Operations, to_json, valid
from trainshed.operations.fields import (
    AnyAction,
    CloneFields,
    EvaluateFields,
    JobChanges,
    JobFilters,
    TrainFields,
    with_spec,
)


class Jobs(Operations):
    """Jobs."""

    async def train(self, *, idempotency_key: str | None = None, **fields: Unpack[TrainFields]) -> Job:
        """Submit a training job; the defaults are those of the TensorFlow.js codelab.

        Calls with the same idempotency key create one job; by default the key is random.
        """
        request = with_spec(fields, schemas.TrainRequest, schemas.TrainJobCreate)
        return await self.submit(valid(schemas.TrainJobCreate, request), idempotency_key=idempotency_key)

    async def evaluate(
        self,
        model: ModelLike = LAST,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[EvaluateFields],
    ) -> Job:
        """Submit an evaluation of a model; omitted fields of its specification are those of the training."""
        request = with_spec(fields, schemas.EvaluateRequest, schemas.EvaluateJobCreate)
        request["spec"]["model_id"] = await self._model_reference(model)
        return await self.submit(valid(schemas.EvaluateJobCreate, request), idempotency_key=idempotency_key)

    async def submit(
        self, job: schemas.TrainJobCreate | schemas.EvaluateJobCreate, *, idempotency_key: str | None = None
    ) -> Job:
        """Submit a job from a request, as `train` and `evaluate` do from fields."""
        # only fields that were set are sent, and `kind` selects the request's schema
        return await self._create(Job, "/v1/jobs", idempotency_key, job.model_copy(update={"kind": job.kind}))

    async def job(self, job: JobLike = LAST) -> JobDetail:
        """Return a job as it is now, with its attempts."""
        return await self._get(JobDetail, f"/v1/jobs/{await self._job_id(job)}")

    async def last(self) -> JobDetail:
        """Return the newest job."""
        return await self.job(LAST)

    def jobs(
        self, *, limit: int | None = None, page_size: int = PAGE_SIZE, **filters: Unpack[JobFilters]
    ) -> AsyncItems[Job]:
        """Iterate over the jobs that match every filter, the newest first; at most `limit`.

        `submitted_by` is the name or id of an API key, or `me` for the client's own.
        Pages of `page_size` jobs, up to 200, are fetched as they are needed.
        """
        state = filters.get("state", ())
        query = valid(
            schemas.JobListQuery,
            {**filters, "state": (state,) if isinstance(state, str) else state, "limit": page_size},
        )
        if limit is not None and limit < page_size:
            query = query.model_copy(update={"limit": max(1, limit)})
        return AsyncItems(self._items(Page[Job], "/v1/jobs", **to_json(query)), limit)

    async def counts(self) -> schemas.JobCounts:
        """Return the number of jobs by state and by queue."""
        return await self._get(schemas.JobCounts, "/v1/jobs/counts")

    async def throughput(self, minutes: int = 60) -> schemas.Throughput:
        """Return how many jobs finished in each of the last minutes, the oldest first, up to a day."""
        return await self._get(schemas.Throughput, "/v1/jobs/throughput", minutes=minutes)

    async def edit(self, job: JobLike, **changes: Unpack[JobChanges]) -> Job:
        """Change a job's name or tags in any state, or its queue or priority while it is queued."""
        patch = valid(schemas.JobPatch, changes)
        return await self._request(Job, "PATCH", f"/v1/jobs/{await self._job_id(job)}", json=to_json(patch))

    async def cancel(self, job: JobLike) -> Job:
        """Cancel a job: at once if it is queued, within seconds if it is running."""
        return await self._request(Job, "POST", f"/v1/jobs/{await self._job_id(job)}/cancel")

    async def retry(self, job: JobLike, *, idempotency_key: str | None = None) -> Job:
        """Submit a finished job again, as a new job; `idempotency_key` is as in `train`."""
        return await self._create(Job, f"/v1/jobs/{await self._job_id(job)}/retry", idempotency_key)

    async def clone(
        self, job: JobLike, *, idempotency_key: str | None = None, **changes: Unpack[CloneFields]
    ) -> Job:
        """Submit a copy of a job, in any state, with these fields changed.

        None restores a field's default, and draws a new `seed`; `idempotency_key` is as in `train`.
        """
        overrides = with_spec(changes, schemas.SpecChanges, schemas.JobClone)
        body = valid(schemas.JobClone, overrides)
        return await self._create(Job, f"/v1/jobs/{await self._job_id(job)}/clone", idempotency_key, body)

    async def delete(self, job: JobLike) -> None:
        """Delete a finished job and its model."""
        await self._connection.call("DELETE", f"/v1/jobs/{await self._job_id(job)}")

    async def batch(
        self, action: AnyAction, jobs: Sequence[JobLike], *, idempotency_key: str | None = None
    ) -> tuple[schemas.BatchResult, ...]:
        """Cancel, retry or delete up to 200 jobs, each on its own; `idempotency_key` is as in `train`."""
        ids = [await self._job_id(job) for job in jobs]
        body = valid(schemas.JobBatch, {"action": action, "ids": ids})
        return (await self._create(schemas.BatchResults, "/v1/jobs/batch", idempotency_key, body)).data
